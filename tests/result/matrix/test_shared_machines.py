"""Runs that use the same machines in turn, under one lease: each counts, and together they count each second once."""

from __future__ import annotations

import json

import pytest

from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix import markdown
from cvl_ci.result.matrix.claims import contradictions, latest
from cvl_ci.result.matrix.failures import Failure
from cvl_ci.result.matrix.report import report
from cvl_ci.result.matrix.spend import spend
from tests.result.benchmark.legs import NIGHT, leg

NAME = "cvl-7-0123abcd"


def job(turn: int, usd: float, **changed: object) -> Leg:
    """Return a job of a queue in a terminal: each has the lease, the release and its moment of the whole machine."""
    return leg(**{"cluster": NAME, "turn": turn, "at": NIGHT, "cost_usd": usd, "leg": f"job {turn}", **changed})


def use(number: int, usd: float, *, kept: float = 0.0, idle: float | None = None, **changed: object) -> Leg:
    """Return a run on a machine that waits between runs. `kept`: the most of its wait; 0: the machine ended."""
    released = {"gone": False, "kept_usd": kept, "kept_until": NIGHT + number * 600 + 300} if kept else {"gone": True}
    reuse = {"key": "k", "number": number, "idle_usd": idle}
    fields = {"cluster": NAME, "at": NIGHT + number * 600, "cost_usd": usd, "reuse": reuse, "released": released}
    return leg(**{**fields, **changed})


def test_jobs_that_shared_a_machine_are_runs_of_their_own() -> None:
    legs = [job(1, 1.0), job(2, 2.0, ending="failed", exit_code=7), job(3, 4.0)]
    assert [one.machines.use for one in latest(legs)] == [1, 2, 3]
    assert contradictions(legs) == [], "their ends are those of different runs"
    total = spend(legs, since=0.0)
    assert (total.usd, total.runs) == (7.0, 3)
    new, warm = report([job(1, 1.0, ending="failed", exit_code=1), *legs[1:]]).rows
    assert (new.failures.worst, new.failures.count) == (Failure.TEST, 1)
    assert (warm.failures.worst, warm.failures.count, len(warm.legs)) == (Failure.TEST, 1, 2)
    assert report(legs[2:], history=legs[:2]).spend.usd == 7.0


def test_two_summaries_of_one_use_are_one_run() -> None:
    assert spend([job(2, 2.0), job(2, 2.5, at=NIGHT + 1)], since=0.0).usd == 2.5


def test_a_wait_that_the_next_run_ended_counts_as_long_as_it_was() -> None:
    legs = [use(1, 10.0, kept=4.0), use(2, 5.0, kept=2.0, idle=1.0), use(3, 3.0, idle=0.5)]
    total = spend(legs, since=0.0)
    assert (total.usd, total.kept_usd, total.runs) == (6.0 + 1.0 + 3.0 + 0.5 + 3.0, 0.0, 3)
    so_far = spend(legs[:2], since=0.0)
    assert (so_far.usd, so_far.kept_usd) == (6.0 + 1.0 + 3.0, 2.0)
    assert all(one.machines.is_gone for one in latest(legs)), "the last use tells the end of the machine"


@pytest.mark.parametrize("legs", [[use(1, 10.0, kept=4.0), use(3, 3.0, idle=0.5)], [use(1, 10.0, kept=4.0)]])
def test_a_wait_whose_end_nobody_tells_stays_a_bound(legs: list[Leg]) -> None:
    assert spend(legs, since=0.0).kept_usd == 4.0


def test_a_machine_that_was_not_proved_gone_stays_so_whatever_a_later_use_tells() -> None:
    left = use(1, 10.0, released={"gone": False}, exit_code=79)
    [first, _] = latest([left, use(2, 5.0, idle=1.0)])
    assert first.machines.may_be_left


def test_a_sweep_adds_to_the_last_use_what_the_others_have_not_counted() -> None:
    legs = [use(1, 10.0, kept=4.0), use(2, 5.0, kept=2.0, idle=1.0)]
    swept = {"cluster": NAME, "at": NIGHT + 9000, "is_sweep": True, "released": {"gone": True}, "ending": "cancelled"}
    sweep = leg(**swept, cost_usd=12.0)
    total = spend([*legs, sweep], since=0.0)
    assert (total.usd, total.kept_usd) == (12.0, 0.0)
    cheaper = leg(**swept, cost_usd=8.0)
    assert spend([*legs, cheaper], since=0.0).usd == 10.0, "what the runs told stays"


def test_the_machine_that_a_killed_run_left_is_in_the_sums_of_the_next_run_and_not_in_its_cost() -> None:
    reuse = {"key": "k", "number": 1, "uncounted_usd": 0.75}
    one = leg(cluster=NAME, at=NIGHT, cost_usd=3.0, reuse=reuse)
    assert one.cost.usd == 3.0
    total = spend([one], since=0.0)
    assert total.usd == 3.75
    assert all(sum(sums.values()) == 3.75 for sums in total.by.values())
    never = leg(cluster=NAME, at=NIGHT, ending="never_started", cost_usd=None, reuse={**reuse, "number": 0})
    assert spend([never], since=0.0).usd == 0.75, "also where the run itself had no machine"
    assert spend([leg_file.read(leg_file.line(never).encode())], since=0.0).usd == 0.75


@pytest.mark.parametrize("one", [job(2, 2.0), use(2, 5.0, kept=2.0, idle=1.0), use(1, 4.0)])
def test_a_line_of_history_keeps_the_use(one: Leg) -> None:
    again = leg_file.read(leg_file.line(one).encode())
    assert (again.machines.run, again.machines.kept_until) == (one.machines.run, one.machines.kept_until)
    assert again.cost == one.cost


@pytest.mark.parametrize("turn", [-1, 0, True, "2", 1e9, None])
def test_a_number_that_no_run_writes_is_the_first(turn: object) -> None:
    text = json.dumps({"ending": "succeeded", "cluster": NAME, "turn": turn})
    assert leg_file.read(text.encode()).machines.run == NAME


def test_runs_on_a_warm_machine_are_compared_with_such_alone() -> None:
    """Their caches are warm, so a new machine would look worse than it is, and a warm one better."""
    night = {"commit": "b" * 40, "at": NIGHT - 86_400.0}
    before = [
        leg(**night, cluster=f"cvl-6-0123abc{number}", turn=turn, metrics={"loss": value})
        for number, (turn, value) in enumerate([(1, 1.0), (2, 2.0), (3, 3.0)])
    ]
    legs = [job(1, 1.0, metrics={"loss": 1.0}), job(2, 1.0, metrics={"loss": 2.5})]
    new, warm = report(legs, history=before, commits=["b" * 40]).rows
    assert [one.measurements.metrics["loss"] for one in new.comparison.baseline.legs] == [1.0]
    assert [one.measurements.metrics["loss"] for one in warm.comparison.baseline.legs] == [2.0, 3.0]
    assert "warm (use 2)" in warm.place and "warm" not in new.place
    [alone] = report(legs[1:], history=before[:1], commits=["b" * 40]).rows
    assert "differ in warm machine" in alone.comparison.baseline.reason


def test_the_row_of_a_reused_machine_names_its_use() -> None:
    (one,) = report([use(3, 1.0)]).rows
    assert one.place.startswith("aws ") and "warm (use 3)" in one.place
    text = markdown.job_summary(report([use(3, 1.0)]))
    assert "warm (use 3)" in text
    (several,) = report([use(2, 1.0), use(5, 1.0), use(3, 1.0)]).rows
    assert "warm (uses 2 to 5)" in several.place
    (new,) = report([use(1, 1.0)]).rows
    assert "use" not in new.place
