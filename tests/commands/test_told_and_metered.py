"""Every ending of a run, by the local engine and through a server: told within 1 % of the provider's own meter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.action.saved_outcome import outcome_from
from cvl_ci.action.state import StepState
from cvl_ci.model.launch import Spending
from cvl_ci.model.ledger import CostKind, Memory
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.release import Release
from cvl_ci.model.resource_request import ResourceRequest
from cvl_ci.result.summary import to_json
from cvl_ci.result.text import money
from tests.commands.test_run import PLAN
from tests.result.test_ledger import ON_AWS, START, life
from tests.support.endings import CASES, SERVERS, House, told_and_metered

ONE_PERCENT = 0.01
LOOSEST_BOUND = 1.2
"""The bound of these cases: only the price is unknown, and the moments are cvl-ci's own."""


@pytest.mark.parametrize("name", CASES)
def test_by_the_local_engine(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    outcome, told, metered, _ = told_and_metered(case, tmp_path)
    assert outcome.ending is case.ending
    assert told == pytest.approx(metered, rel=ONE_PERCENT), outcome.cost
    assert (metered == 0) == (outcome.cost is None)
    document = to_json(outcome)
    entries = document["ledger"]
    assert isinstance(entries, list)
    assert sum(one["usd"] for one in entries) == pytest.approx(told), "the artifact can be opened to its entries"


@pytest.mark.parametrize("name", CASES)
def test_through_a_server(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    outcome, told, metered, _ = told_and_metered(case, tmp_path, server=SERVERS["answers"])
    assert outcome.ending is case.ending
    if case.no_evidence:
        assert_bound(outcome, told, metered, case.no_evidence)
        return
    assert told == pytest.approx(metered, rel=ONE_PERCENT), outcome.cost
    if case.loses is None and not case.dies_at:
        assert outcome.cost is None or not outcome.cost.ledger.is_bound


@pytest.mark.parametrize("name", CASES)
def test_through_a_server_with_keys_of_the_cloud_here_the_provider_dates_every_ending(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    outcome, told, metered, _ = told_and_metered(case, tmp_path, server=SERVERS["answers, with keys"])
    assert outcome.ending is case.ending
    assert told == pytest.approx(metered, rel=ONE_PERCENT), outcome.cost
    assert outcome.cost is None or not outcome.cost.ledger.is_bound


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.unseen])
def test_through_a_server_whose_answer_came_too_late_its_history_names_the_last_place(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    outcome, told, metered, _ = told_and_metered(case, tmp_path, server=SERVERS["answers late"])
    if name == "failover after machines that failed":
        assert_bound(outcome, told, metered, "the history keeps the last place of a launch alone")
    else:
        assert told == pytest.approx(metered, rel=ONE_PERCENT), outcome.cost


@pytest.mark.parametrize("name", CASES)
def test_through_a_server_that_tells_neither_machines_nor_dates(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    outcome, told, metered, _ = told_and_metered(case, tmp_path, server=SERVERS["tells nothing"])
    assert outcome.ending is case.ending
    if case.unseen:
        assert_bound(outcome, told, metered, "no record names a machine")
        assert outcome.cost is not None and told <= metered * LOOSEST_BOUND
        assert money(outcome.cost).startswith("at most $")
        assert any(entry["at_most"] for entry in outcome_json(outcome))
        assert case.dies_at or any("an upper bound, at the quote's highest" in one for one in outcome.warnings)
    elif case.no_evidence or case.no_history:
        assert_bound(outcome, told, metered, case.no_evidence or case.no_history)
    else:
        assert told == pytest.approx(metered, rel=ONE_PERCENT), outcome.cost
        if case.loses is None and not case.dies_at:
            assert outcome.cost is None or not outcome.cost.ledger.is_bound


def assert_bound(outcome: Outcome, told: float, metered: float, reason: str) -> None:
    """Assert that the cost is never less than the meter, and that it says so."""
    assert told >= metered * (1 - ONE_PERCENT), reason
    assert outcome.cost is not None and outcome.cost.ledger.is_bound, reason


def outcome_json(outcome: Outcome) -> list[dict[str, object]]:
    entries = to_json(outcome)["ledger"]
    assert isinstance(entries, list)
    return entries


def test_a_run_again_is_more_money_and_the_first_attempt_s_stays(tmp_path: Path) -> None:
    first = told_and_metered(CASES["failed"], tmp_path)
    second = told_and_metered(CASES["succeeded"], tmp_path)
    assert first[1] + second[1] == pytest.approx(first[2] + second[2], rel=ONE_PERCENT)


def test_a_machine_that_the_provider_dates_a_moment_before_its_request_has_its_minimum_after_a_kill(
    tmp_path: Path,
) -> None:
    attempt = replace(ON_AWS, requested_at=START + 0.4)
    release = Release(gone=True, at=START + 450, memory=Memory(lives=(life(START, START + 445),)))
    state = StepState(lease="cvl-7", spending=Spending(attempts=(attempt,), nodes=1, disk_gb=100))
    outcome = outcome_from(state, release, name="cvl-7", folder=tmp_path)
    assert outcome.cost is not None
    [machine] = outcome.cost.ledger.of_kind(CostKind.MACHINE)
    assert machine.seconds == pytest.approx(445, abs=1)


def test_a_large_disk_is_told_too(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.engine.works = 3000.0
    outcome = house.run(replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(disk_gb=16_384))))
    assert outcome.cost is not None
    assert outcome.cost.usd == pytest.approx(house.cloud.meter.usd(house.clock.now()), rel=ONE_PERCENT)
    assert outcome.cost.usd > 10 * 0.1 * 3000 / 3600, "nearly all of it is the disk"
