"""The cost of machines that a killed queue left running: told by the next queue, and counted in its budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands.queue import former_leases, run_queue
from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.model.launch import Spending
from cvl_ci.model.ledger import Memory
from cvl_ci.model.location import REPLICATED, Location
from cvl_ci.model.queue import JobRecord, JobState
from cvl_ci.model.release import Release
from cvl_ci.ports import LeaseRecord
from cvl_ci.result.queue_text import summary
from cvl_ci.result.units import dollars
from tests import golden
from tests.commands.test_queue import queue, states
from tests.result.test_ledger import life
from tests.support.fake_queue import USD, FakeRuns, Heard, plans, ports
from tests.support.fakes import FakeRecords, spending

MESSAGES = golden.Messages(__name__)

RUNNING = JobRecord(state=JobState.RUNNING, lease="lease-a-1", attempts=1)
START = spending(1.0, billed=True).attempts[0].requested_at
HOUR = 3600.0
RECORD = LeaseRecord(
    name="lease-a-1",
    labels={},
    deadline=START + 9 * HOUR,
    locations=(Location(cloud="aws"),),
    taken_at=START,
    regions=("aws/us-east-1",),
)
EXTRA = (0.08 * 100 + 6.22) / (31 * 24) + 0.005
"""The price of a disk and an address for an hour."""


def resume(
    folder: Path,
    earlier: Mapping[str, JobRecord],
    *,
    usd: float | None,
    budget: float | None = None,
    prices: Mapping[str, float | None] | None = None,
) -> tuple[Mapping[str, JobRecord], list[str], FakeRuns]:
    """Run a queue of the jobs a and b, after one that was killed with this record."""
    QueueRecord(folder).write(earlier)
    limits = {} if budget is None else {"budget": budget}
    queued, runs, told = queue({"id": "a"}, {"id": "b"}, max_parallel=1, **limits), FakeRuns(folder), list[str]()
    runs.former_usd = usd
    tools = replace(ports(runs, folder, Heard()), tell=told.append)
    return run_queue.run(queued, plans(queued), prices=prices or {}, ports=tools), told, runs


def test_the_job_that_was_under_way_pays_its_former_machine(tmp_path: Path) -> None:
    records, told, runs = resume(tmp_path, {"a": RUNNING}, usd=0.5)
    assert runs.ended == ["lease-a-1"]
    MESSAGES.check("its cost", told)
    assert records["a"].usd == pytest.approx(USD + 0.5)
    assert records["b"].usd == pytest.approx(USD)
    assert summary(records).endswith(f" · {dollars(2 * USD + 0.5)}")


def test_it_counts_against_the_budget(tmp_path: Path) -> None:
    prices = dict.fromkeys("ab", USD)
    enough, _, _ = resume(tmp_path / "enough", {"a": RUNNING}, usd=0.5, budget=2 * USD + 0.51, prices=prices)
    assert set(states(enough).values()) == {JobState.SUCCEEDED}
    short, told, _ = resume(tmp_path / "short", {"a": RUNNING}, usd=0.5, budget=2 * USD + 0.49, prices=prices)
    assert states(short) == {"a": JobState.SUCCEEDED, "b": JobState.SKIPPED}
    assert told[0].endswith("This queue counts it in its budget.")


def test_an_unknown_cost_says_so_and_counts_with_the_most_that_it_can_be(tmp_path: Path) -> None:
    records, told, _ = resume(tmp_path / "free", {"a": RUNNING}, usd=None)
    MESSAGES.check("an unknown cost", told)
    assert records["a"].usd == pytest.approx(USD), "a bound is not a cost"
    prices = {"a": 0.5, "b": 0.5}
    records, told, _ = resume(tmp_path / "bound", {"a": RUNNING}, usd=None, budget=1.0, prices=prices)
    MESSAGES.check("an unknown cost with a budget", told)
    assert states(records) == {"a": JobState.SUCCEEDED, "b": JobState.SKIPPED}


def test_a_job_that_the_file_has_no_more_is_counted_all_the_same(tmp_path: Path) -> None:
    gone = replace(RUNNING, lease="lease-z-1")
    prices = {"a": USD, "b": USD}
    records, told, _ = resume(tmp_path, {"z": gone}, usd=0.5, budget=2 * USD + 0.4, prices=prices)
    assert states(records) == {"a": JobState.SUCCEEDED, "b": JobState.SKIPPED}
    assert told[0].startswith("z: the machine")
    _, told, _ = resume(tmp_path / "unknown", {"z": gone}, usd=None, budget=9.0, prices=prices)
    assert told[0].endswith(" The budget does not count it.")


def test_a_cost_that_the_killed_queue_told_counts_once(tmp_path: Path) -> None:
    """Its job ended without a proof, with a cost. Only the time after it is new."""
    unproved = JobRecord(state=JobState.FAILED, lease="lease-a-1", attempts=1, usd=0.3, is_gone=False)
    _, told, _ = resume(tmp_path, {"a": unproved}, usd=0.5)
    assert "and cost at most $0.20." in told[0]
    _, told, _ = resume(tmp_path / "less", {"a": unproved}, usd=0.2)
    assert told == []


def test_a_shared_machine_is_paid_once_by_the_job_under_way(tmp_path: Path) -> None:
    """The killed queue knew no share of the job that had ended on it."""
    over = JobRecord(state=JobState.SUCCEEDED, lease="lease-a-1", attempts=1, is_gone=False)
    under_way = replace(RUNNING, lease="lease-a-1")
    records, told, runs = resume(tmp_path, {"a": over, "b": under_way}, usd=0.5)
    assert runs.ended == ["lease-a-1"]
    MESSAGES.check("the cost of a shared machine", told)
    assert records["b"].usd == pytest.approx(USD + 0.5)


def test_a_machine_that_cost_nothing_needs_no_line(tmp_path: Path) -> None:
    assert resume(tmp_path, {"a": RUNNING}, usd=0.0)[1] == []


# ---- the cost of one lease -----------------------------------------------------------------------------------------


def ended(folder: Path, record: LeaseRecord | None, requests: Spending | None, release: Release) -> tuple[object, bool]:
    records = FakeRecords(folder)
    if requests is not None:
        records.note_spending(RECORD.name, requests)
    end = former_leases.end_of(record, release, records)
    return end.usd, end.is_bound


def test_the_provider_s_dates_count(tmp_path: Path) -> None:
    memory = Memory(lives=(life(START, START + 2 * HOUR),), clouds=frozenset({"aws"}))
    release = Release(gone=True, at=START + 2.5 * HOUR, memory=memory)
    usd, is_bound = ended(tmp_path, RECORD, spending(1.0, billed=True), release)
    assert usd == pytest.approx(2 * (1.0 + EXTRA))
    assert not is_bound


@pytest.mark.parametrize(
    ("record", "hours"),
    [(RECORD, 9.0), (replace(RECORD, released_at=START + HOUR), 1.0), (replace(RECORD, deadline=0.0), 48.0)],
)
def test_without_dates_it_is_a_bound_by_the_deadline_or_an_earlier_release(
    tmp_path: Path, record: LeaseRecord, hours: float
) -> None:
    release = Release(gone=True, at=START + 48 * HOUR)
    usd, is_bound = ended(tmp_path, record, spending(1.0, billed=True), release)
    assert usd == pytest.approx(hours * (1.0 + EXTRA))
    assert is_bound


@pytest.mark.parametrize(
    ("end", "is_gone", "hours"),
    [(None, False, 12.0), (12 * HOUR, False, 12.0), (None, True, 9.0), (8 * HOUR, False, 8.0)],
)
def test_a_machine_that_outlived_its_deadline_counts_until_its_removal(
    tmp_path: Path, end: float | None, is_gone: bool, hours: float
) -> None:
    one = replace(life(START, None if end is None else START + end), is_gone=is_gone)
    release = Release(
        gone=True,
        at=START + 12 * HOUR,
        removed_at=START + 12 * HOUR,
        memory=Memory(lives=(one,), clouds=frozenset({"aws"})),
    )
    usd, _ = ended(tmp_path, RECORD, spending(1.0, billed=True), release)
    assert usd == pytest.approx(hours * (1.0 + EXTRA))


@pytest.mark.parametrize(
    ("record", "requests", "usd"),
    [
        (None, None, None),
        (RECORD, None, None),
        (RECORD, spending(0.0, billed=True), None),
        (replace(RECORD, locations=(Location(cloud=REPLICATED),)), spending(1.0, billed=True), None),
        (replace(RECORD, regions=()), None, 0.0),
        (RECORD, spending(1.0, billed=False), 0.0),
        (RECORD, Spending(), 0.0),
    ],
)
def test_a_lease_without_a_price_is_unknown_and_one_without_a_bill_is_free(
    tmp_path: Path, record: LeaseRecord | None, requests: Spending | None, usd: float | None
) -> None:
    assert ended(tmp_path, record, requests, Release(gone=True, at=START + HOUR))[0] == usd
