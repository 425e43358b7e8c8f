"""Broken machines, against the fakes: they are given back, and the job runs once, on a machine elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvl_ci.commands.run.recovery import ATTEMPT_VARIABLE
from cvl_ci.model.limits import Limits
from cvl_ci.model.loss import LossKind
from cvl_ci.model.outcome import Ending
from cvl_ci.result import recovery_text, summary
from tests import golden
from tests.commands.test_recovery import BOOT_SECONDS, JOB_SECONDS, PROBE_SECONDS, STATE, House, plan

MESSAGES = golden.Messages(__name__)

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d")


def test_a_broken_machine_is_given_back_and_the_job_runs_once_elsewhere(tmp_path: Path) -> None:
    house = House(tmp_path, broken=(1,))
    outcome = house.run(plan(recoveries=0))
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    first, second = house.engine.requests
    assert [attempt.zone for attempt in second.avoid] == ["us-east-1a"]
    assert outcome.machines.launch is not None and outcome.machines.launch.zone == "us-east-1b"
    assert first.deadline == second.deadline and 0 == first.spent_usd < second.spent_usd
    assert ATTEMPT_VARIABLE not in second.plan.variables.env, "no recovery was asked for"
    assert outcome.timing.phases["running"] == JOB_SECONDS
    [one] = outcome.machines.recoveries
    assert (one.lost.kind, one.lost.why, one.lost.states) == (LossKind.UNFIT, STATE.findings[0], (STATE,))
    assert one.pause_seconds is not None and BOOT_SECONDS <= one.pause_seconds < BOOT_SECONDS + 30
    assert outcome.cost is not None
    assert {entry.attempt for entry in outcome.cost.ledger.entries if entry.seconds} == {1, 2}, "both are in the ledger"


def test_the_report_names_the_broken_gpu_its_place_and_its_cost(tmp_path: Path) -> None:
    house = House(tmp_path, broken=(1,))
    outcome = house.run(plan(recoveries=0))
    [notice] = house.reporter.notices
    MESSAGES.check("a broken machine", notice)
    [line] = recovery_text.recoveries(outcome)
    MESSAGES.check("its line of the report", line)
    told = json.loads(json.dumps(summary.to_json(outcome)))["recoveries"]
    assert [(one["lost"], one["states"][0]["gpus"][0]["uuid"]) for one in told] == [("unfit", "GPU-1")]


def test_the_third_broken_machine_ends_the_run_as_infrastructure(tmp_path: Path) -> None:
    house = House(tmp_path, broken=(1, 2, 3), zones=ZONES)
    outcome = house.run(plan(recoveries=5))
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.UNFIT, 75)
    assert [attempt.zone for attempt in outcome.machines.attempts] == list(ZONES[:3])
    assert [one.resumed_at for one in outcome.machines.recoveries] == [None, None]
    assert all("no fit machine followed" in line for line in recovery_text.recoveries(outcome))


def test_no_other_place_is_infrastructure_that_names_both(tmp_path: Path) -> None:
    house = House(tmp_path, broken=(1,), zones=("us-east-1a",))
    outcome = house.run(plan(recoveries=0))
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.UNFIT, 75)
    MESSAGES.check("no other place", outcome.reason)


def test_losses_and_broken_machines_are_counted_apart(tmp_path: Path) -> None:
    house = House(tmp_path, broken=(2,), schedule=(100.0, 0.0, 50.0), zones=ZONES)
    outcome = house.run(plan(recoveries=2))
    house.assert_clean()
    assert outcome.ending is Ending.SUCCEEDED
    kinds = [one.lost.kind for one in outcome.machines.recoveries]
    assert kinds == [LossKind.PREEMPTED, LossKind.UNFIT, LossKind.PREEMPTED]
    pauses = [one.pause_seconds for one in outcome.machines.recoveries]
    assert pauses[0] is not None and pauses[0] >= 2 * BOOT_SECONDS + PROBE_SECONDS, "until the job ran again"
    notices = [notice for notice in house.reporter.notices if "recovery" in notice]
    assert [notice[-6:] for notice in notices] == ["1 of 2", "2 of 2"]


@pytest.mark.parametrize("limits", [Limits(max_runtime_minutes=30, max_cost_usd=0.08), Limits(max_runtime_minutes=0.9)])
def test_no_machine_is_replaced_that_time_or_money_cannot_use(tmp_path: Path, limits: Limits) -> None:
    house = House(tmp_path, broken=(1,), hourly_usd=1.0)
    outcome = house.run(plan(recoveries=0, limits=limits))
    house.assert_clean()
    assert len(house.engine.requests) == 1
    assert (outcome.ending, outcome.exit_code) == (Ending.UNFIT, 75)


def test_an_unproved_end_of_a_broken_machine_asks_for_no_other(tmp_path: Path) -> None:
    house = House(tmp_path, broken=(1,))

    def at(step: str) -> None:
        if step == "down":
            house.cloud.silent = True

    house.engine.at = at
    outcome = house.run(plan(recoveries=0))
    assert len(house.engine.requests) == 1
    assert (outcome.ending, outcome.exit_code) == (Ending.UNFIT, 79)
