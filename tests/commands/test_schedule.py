"""The schedule of a queue, as tables: which jobs may start, what their ends mean for others, and the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from cvl_ci.commands.queue.schedule import Schedule
from cvl_ci.errors import BudgetError
from cvl_ci.model.queue import GOOD, OVER, JobRecord, JobState, Queue, QueueJob, Retry, RetryCause
from tests import golden

MESSAGES = golden.Messages(__name__)

WAITING, RUNNING, SUCCEEDED = JobState.WAITING, JobState.RUNNING, JobState.SUCCEEDED
FAILED, SOFT_FAILED, SKIPPED = JobState.FAILED, JobState.SOFT_FAILED, JobState.SKIPPED
ENDS = sorted(OVER, key=lambda state: state.value)


def job(name: str, **changed: object) -> QueueJob:
    return replace(QueueJob(id=name, request={}), **changed)  # type: ignore[arg-type]


def schedule(
    *jobs: QueueJob,
    prices: Mapping[str, float | None] | None = None,
    budget: float | None = None,
    most: int = 4,
    running: Sequence[str] = (),
    ends: Mapping[str, JobState] | None = None,
) -> Schedule:
    """Return a schedule in which jobs run, and others have these ends."""
    made = Schedule(Queue(jobs=jobs, max_parallel=most, budget=budget), prices=prices or {})
    for name in (*running, *(ends or {})):
        made.start(name)
    for name, state in (ends or {}).items():
        made.finish(name, JobRecord(state=state))
    return made


def states(one: Schedule) -> list[JobState]:
    return [record.state for record in one.records.values()]


A, B, C = job("a"), job("b"), job("c")
B_AFTER_A, C_AFTER_B = job("b", needs=("a",)), job("c", needs=("b",))
ANYWAY = job("b", needs=("a",), allow_dependency_failure=True)


@pytest.mark.parametrize("end", ENDS, ids=lambda state: state.value)
def test_a_need_lets_its_dependents_run_or_skips_them(end: JobState) -> None:
    one = schedule(A, B_AFTER_A, C_AFTER_B, ends={"a": end})
    shown = f"was {end.value}" if end in {SKIPPED, JobState.CANCELLED} else end.value
    assert one.ready() == (("b",) if end in GOOD else ())
    assert one.without_run == ([] if end in GOOD else ["b", "c"])
    if end not in GOOD:
        assert one.records["b"].reason == f"it needs a ({shown})"
        assert (one.records["c"].reason, one.is_over) == ("it needs b (was skipped)", True)


@pytest.mark.parametrize("end", ENDS, ids=lambda state: state.value)
def test_an_allowed_failure_skips_no_dependent(end: JobState) -> None:
    assert schedule(A, ANYWAY, ends={"a": end}).ready() == ("b",)


def test_all_bad_needs_are_in_the_reason() -> None:
    one = schedule(A, B, job("c", needs=("a", "b")), ends={"a": FAILED, "b": JobState.NOT_RUN})
    assert (one.ready(), one.records["c"].reason) == ((), "it needs a (failed), b (not run)")


GPU = {"concurrency_group": "gpu"}
ON_M = {"machine": "m"}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(schedule(A, B, C), ("a", "b", "c"), id="all"),
        pytest.param(schedule(A, B, C, most=2), ("a", "b"), id="two places"),
        pytest.param(schedule(A, B, C, most=2, running=["a"]), ("b",), id="one place is left"),
        pytest.param(schedule(A, B, C, most=2, running=["a", "b"]), (), id="no place is left"),
        pytest.param(schedule(A, B_AFTER_A), ("a",), id="a need waits"),
        pytest.param(schedule(A, B_AFTER_A, running=["a"]), (), id="a need runs"),
        pytest.param(schedule(A, ANYWAY, running=["a"]), (), id="an allowed need runs"),
        pytest.param(schedule(job("a", **GPU), job("b", **GPU), C), ("a", "c"), id="one of a group"),
        pytest.param(schedule(job("a", **GPU), job("b", **GPU), C, running=["a"]), ("c",), id="the group is taken"),
        pytest.param(schedule(job("a", **ON_M), job("b", **ON_M), C), ("a", "c"), id="one of a machine"),
        pytest.param(schedule(job("a", **ON_M), job("b", concurrency_group="m")), ("a", "b"), id="no common group"),
    ],
)
def test_startable_jobs(one: Schedule, expected: tuple[str, ...]) -> None:
    assert one.startable() == expected


def test_a_closing_machine_takes_no_job() -> None:
    one = schedule(job("a", **ON_M), B)
    assert (one.startable(closing={"m"}), one.startable()) == (("b",), ("a", "b"))


TWO_EACH = {"a": 2.0, "b": 2.0, "c": None}


@pytest.mark.parametrize(
    ("budget", "running", "expected"),
    [
        pytest.param(None, [], ("a", "b", "c"), id="no budget"),
        pytest.param(4.0, [], ("a", "b", "c"), id="enough"),
        pytest.param(3.0, [], ("a", "c"), id="for one at a time"),
        pytest.param(3.0, ["a"], ("c",), id="reserved by a running job"),
        pytest.param(1.0, ["c"], (), id="too little while a job runs"),
    ],
)
def test_budget(budget: float | None, running: Sequence[str], expected: tuple[str, ...]) -> None:
    one = schedule(A, B, C, prices=TWO_EACH, budget=budget, running=running)
    assert (one.startable(), one.without_run) == (expected, [])


def test_a_job_that_can_never_be_paid_is_skipped() -> None:
    one = schedule(A, prices={"a": 2.0}, budget=1.5)
    assert (one.startable(), one.without_run) == ((), ["a"])
    record = one.records["a"]
    assert (record.state, record.exit_code) == (SKIPPED, BudgetError.exit_code)
    MESSAGES.check("too dear", record.reason)


def test_the_rest_of_a_spent_budget_is_0() -> None:
    one = schedule(A, B, prices={"b": 1.0}, budget=1.0)
    one.start("a")
    one.finish("a", JobRecord(state=SUCCEEDED, usd=3.0))
    assert (one.startable(), one.cost) == ((), 3.0)
    assert one.records["b"].reason.endswith("the budget has $0.00 left")


SHARED = (job("a", **ON_M), job("b", **ON_M, needs=("a",)), C)
OF_SHARED = {"a": 2.0, "b": 1.0, "c": 2.0}


@pytest.mark.parametrize(
    ("budget", "expected"),
    [pytest.param(5.0, ("a", "c"), id="for all"), pytest.param(4.0, ("a",), id="for the machine")],
)
def test_a_shared_machine_is_reserved_for_all_its_jobs(budget: float, expected: tuple[str, ...]) -> None:
    assert schedule(*SHARED, prices=OF_SHARED, budget=budget).startable() == expected


def test_an_open_machine_is_reserved_once_until_it_closes() -> None:
    one = schedule(*SHARED, prices=OF_SHARED, budget=4.0)
    one.open_machine("m")
    assert one.startable() == ("a",)
    one.start("a")
    one.finish("a", JobRecord(state=SUCCEEDED))
    assert (one.jobs_of("m"), one.startable()) == (("b",), ("b",))
    one.start("b")
    one.finish("b", JobRecord(state=SUCCEEDED))
    assert (one.startable(), one.without_run) == ((), []), "its reservation may come back"
    one.close_machine("m")
    one.close_machine("m")
    assert one.startable() == ("c",)


@pytest.mark.parametrize(
    ("closing", "skipped"),
    [pytest.param({"m"}, [], id="a machine ends"), pytest.param(set(), ["c"], id="a machine waits for a job")],
)
def test_a_machine_that_ends_may_pay_for_a_job(closing: set[str], skipped: list[str]) -> None:
    waiting = job("a", **ON_M, needs=("b",))
    one = schedule(waiting, job("b", needs=("c",)), C, prices={"a": 3.0, "c": 2.0}, budget=4.0)
    one.open_machine("m")
    assert (one.startable(closing=closing), one.without_run) == ((), skipped)


@pytest.mark.parametrize(
    ("changed", "end", "cause", "expected"),
    [
        pytest.param({}, FAILED, None, FAILED, id="failed"),
        pytest.param({}, JobState.NOT_RUN, RetryCause.CAPACITY, JobState.NOT_RUN, id="no retry"),
        pytest.param({"soft_fail": True}, FAILED, None, SOFT_FAILED, id="failed softly"),
        pytest.param({"soft_fail": True}, JobState.NOT_RUN, None, JobState.NOT_RUN, id="not run is not soft"),
        pytest.param({}, SUCCEEDED, None, SUCCEEDED, id="succeeded"),
    ],
)
def test_the_end_of_a_job(
    changed: dict[str, object], end: JobState, cause: RetryCause | None, expected: JobState
) -> None:
    one = schedule(job("a", **changed), running=["a"])
    assert one.finish("a", JobRecord(state=end), cause=cause) is False
    assert (states(one), one.running, one.is_over) == ([expected], (), True)


@pytest.mark.parametrize(
    ("cause", "limit", "attempts"),
    [
        pytest.param(RetryCause.CAPACITY, 2, 3, id="up to the limit"),
        pytest.param(RetryCause.CAPACITY, 0, 1, id="no further attempt"),
        pytest.param(RetryCause.PREEMPTED, 2, 1, id="another cause"),
        pytest.param(None, 2, 1, id="no cause"),
    ],
)
def test_further_attempts(cause: RetryCause | None, limit: int, attempts: int) -> None:
    one = schedule(job("a", retry=Retry(on=frozenset({RetryCause.CAPACITY}), limit=limit)))
    while one.ready():
        one.start("a", lease="cvl-1", fingerprint="f")
        one.finish("a", JobRecord(state=JobState.NOT_RUN, usd=1.0, seconds=2.0), cause=cause)
    record = one.records["a"]
    assert (record.attempts, record.usd, record.seconds) == (attempts, attempts, 2.0 * attempts)


def test_a_share_of_the_cost_counts_once_for_each_attempt() -> None:
    one = schedule(A, ends={"a": SUCCEEDED})
    for attempt in (1, 1, 2):
        one.settle("a", attempt, usd=1.5, is_gone=attempt == 1)
    assert (one.cost, one.records["a"].is_gone) == (3.0, False)


def test_a_job_of_an_earlier_queue_costs_nothing_and_runs_again_as_a_new_one() -> None:
    one = schedule(A, B_AFTER_A)
    one.reuse("a", JobRecord(state=SUCCEEDED, usd=5.0, attempts=2))
    assert (one.cost, one.ready()) == (0.0, ("b",))
    one.run_again("a")
    assert (one.records["a"], one.ready()) == (JobRecord(), ("a",))


def test_a_job_that_runs_again_keeps_its_cost() -> None:
    one = schedule(A, running=["a"])
    one.finish("a", JobRecord(state=SUCCEEDED, usd=5.0, reason="done"))
    one.run_again("a")
    record = one.records["a"]
    assert (record.state, record.usd, record.attempts, record.reason) == (WAITING, 5.0, 1, "")


def test_a_cancelled_queue_ends_all_that_waits() -> None:
    one = schedule(A, B, C, running=["a"], ends={"b": SUCCEEDED})
    one.cancel()
    assert (states(one), one.without_run) == ([RUNNING, SUCCEEDED, JobState.CANCELLED], ["c"])
    assert (one.records["c"].reason, one.is_over) == ("the queue was cancelled", False)
