"""A sweep's summary next to those of the run itself: it adds a proof and a cost, and hides no end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cvl_ci.model.outcome import Ending
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg, LegCost, LegKey, LegMachines, LegSource
from cvl_ci.result.matrix.claims import contradictions, latest
from cvl_ci.result.matrix.spend import spend

MAIN = Leg(
    key=LegKey(example="digits", cloud="aws"),
    ending=Ending.SUCCEEDED,
    reason="",
    exit_code=0,
    source=LegSource(at=1000.0),
    machines=LegMachines(cluster="cvl-7-0123abcd", region="us-east-1", is_gone=False),
    cost=LegCost(usd=100.0),
)
SWEEP = replace(
    MAIN,
    ending=Ending.CANCELLED,
    exit_code=130,
    source=LegSource(at=5000.0, is_sweep=True),
    machines=replace(MAIN.machines, is_gone=True),
    cost=LegCost(usd=25.0),
)


@pytest.mark.parametrize("ending", [Ending.SUCCEEDED, Ending.FAILED, Ending.TIMED_OUT, Ending.PREEMPTED])
def test_a_sweep_adds_its_proof_and_leaves_the_end_and_the_larger_cost(ending: Ending) -> None:
    for legs in ([replace(MAIN, ending=ending), SWEEP], [SWEEP, replace(MAIN, ending=ending)]):
        [leg] = latest(legs)
        assert (leg.ending, leg.cost.usd, leg.machines.is_gone) == (ending, 100.0, True)
        assert contradictions(legs) == [] and spend(legs, since=0.0).usd == 100.0


def test_a_preview_that_a_sweep_ended_has_succeeded_and_costs_what_it_ran() -> None:
    kept = replace(
        MAIN, machines=replace(MAIN.machines, kept_until=9000.0), cost=LegCost(usd=10.0, kept_usd=9.0, hourly_usd=2.0)
    )
    [leg] = latest([kept, replace(SWEEP, cost=LegCost(usd=8.0))])
    assert (leg.ending, leg.cost.usd, leg.cost.kept_usd, leg.cost.hourly_usd) == (Ending.SUCCEEDED, 8.0, 0.0, 2.0)
    assert leg.machines.is_gone and not leg.machines.kept_until


def test_a_sweep_that_left_something_says_so_until_a_later_one_has_the_proof() -> None:
    left = replace(SWEEP, machines=replace(SWEEP.machines, is_gone=False))
    gone = replace(MAIN, machines=replace(MAIN.machines, is_gone=True))
    assert [leg.machines.is_gone for leg in latest([gone, left])] == [False]
    later = replace(SWEEP, source=replace(SWEEP.source, at=6000.0))
    assert [leg.machines.is_gone for leg in latest([gone, later, left])] == [True]


def test_a_sweep_alone_is_the_end_and_so_it_is_of_a_run_that_told_none() -> None:
    assert latest([SWEEP]) == [SWEEP]
    detached = replace(MAIN, ending=Ending.DETACHED, cost=LegCost(usd=1.0))
    [leg] = latest([detached, SWEEP])
    assert (leg.ending, leg.cost.usd) == (Ending.CANCELLED, 25.0)


def test_the_mark_stays_in_a_history() -> None:
    assert leg_file.read(leg_file.line(SWEEP).encode()).source.is_sweep
    assert not leg_file.read(leg_file.line(MAIN).encode()).source.is_sweep
