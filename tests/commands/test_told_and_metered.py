"""Every ending of a run, by the local engine and through a server: told within 1 % of the provider's own meter."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cvl_ci.action.saved_outcome import outcome_from
from cvl_ci.action.state import StepState
from cvl_ci.commands.run import run as running
from cvl_ci.lease import Lease
from cvl_ci.model.launch import Spending
from cvl_ci.model.limits import Limits
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import ResourceRequest
from cvl_ci.result.summary import to_json
from cvl_ci.result.text import money
from tests.commands.test_run import PLAN
from tests.support.fakes import (
    FakeClock,
    FakeCloud,
    FakeClouds,
    FakePrices,
    FakeRecords,
    FakeReporter,
    FakeStaging,
    Killed,
)
from tests.support.spenders import Spender, Try

OWNER = Owner(repository="a/b", run="1")
ONE_PERCENT = 0.01
LOOSEST_BOUND = 1.2
"""The bound of these cases: only the price is unknown, and the moments are cvl-ci's own."""


class House:
    """A run on the fake cloud. `through`: a server that tells no dates of machines, no place and no price before."""

    def __init__(self, folder: Path, *, through: str = "") -> None:
        self.clock, self.through = FakeClock(), through
        self.cloud = FakeCloud(self.clock, remembers=not through, dated=not through)
        self.engine = Spender(self.cloud, unpriced=bool(through))
        self.workflow, self.records, self.folder = FakeReporter(), FakeRecords(folder), folder

    def run(self, plan: RunPlan) -> Outcome:
        tools = running.RunPorts(
            clouds=FakeClouds(self.engine, through=self.through),
            records=self.records,
            staging=FakeStaging(self.folder),
            workflow=self.workflow,
            prices=FakePrices(),
            clock=self.clock,
        )
        return running.run(plan, owner=OWNER, outputs=self.folder / "out", tools=tools)

    def post(self) -> Outcome:
        """Release and tell after main was killed, as post does: from what main saved."""
        record = self.records.kept[OWNER.name]
        engine = Spender(self.cloud)
        lease = Lease(
            record, machines=engine, inventory=self.cloud, records=self.records, clock=self.clock, say=lambda _: None
        )
        release = lease.release(maybe_created=True)
        state = StepState(lease=OWNER.name, spending=self.workflow.spending or Spending())
        return outcome_from(state, release, name=OWNER.name, folder=self.folder / "none")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One ending. `dies_at`: the step of a kill, or with `cancelled` of a Ctrl-C, `late` seconds into it."""

    ending: Ending
    tries: tuple[Try, ...] = (Try(hourly_usd=2.5),)
    nodes: int = 1
    works: float = 600.0
    ends: tuple[NodeEnd, ...] = (NodeEnd(rank=0, exit_code=0),)
    loses: tuple[int, float, bool] | None = None
    limits: Limits = field(default_factory=Limits)
    dies_at: str = ""
    cancelled: bool = False
    local_only: str = ""
    """Why cvl-ci tells more than the meter through a server."""
    unseen: bool = False
    """A server names neither the machines of a failed launch nor their prices: cvl-ci tells a bound."""


FAILED = (NodeEnd(rank=0, exit_code=7),)
STEPS = ("asked", "created", "follow", "ran", "fetch", "down")
CASES = {
    "succeeded": Case(ending=Ending.SUCCEEDED),
    "succeeded within the minimum": Case(ending=Ending.SUCCEEDED, works=0.0),
    "failed": Case(ending=Ending.FAILED, ends=FAILED),
    "timed out": Case(ending=Ending.TIMED_OUT, ends=(NodeEnd(rank=0, exit_code=124, timed_out=True),)),
    "over budget": Case(ending=Ending.OVER_BUDGET, works=9e9, limits=Limits(max_cost_usd=1.0)),
    "preempted in its first hour": Case(
        ending=Ending.PREEMPTED,
        tries=(Try(hourly_usd=2.5, spot=True),),
        loses=(1, 900.0, True),
        local_only="it does not know who ended the machine",
    ),
    "preempted after its first hour": Case(
        ending=Ending.PREEMPTED, tries=(Try(hourly_usd=2.5, spot=True),), loses=(1, 4000.0, True)
    ),
    "ended by the machine itself": Case(ending=Ending.PREEMPTED, loses=(1, 800.0, False)),
    "kept": Case(ending=Ending.FAILED, ends=FAILED, limits=Limits(keep_minutes=30)),
    "never started: all refused": Case(
        ending=Ending.NEVER_STARTED, tries=(Try(refused=True), Try(region="us-west-2", refused=True))
    ),
    "never started: came up and failed": Case(
        ending=Ending.NEVER_STARTED,
        tries=(Try(refused=True), Try(region="us-west-2", hourly_usd=9.0, fails_after=700.0)),
        unseen=True,
    ),
    "failover after a refusal": Case(
        ending=Ending.SUCCEEDED, tries=(Try(refused=True), Try(region="us-west-2", hourly_usd=4.0))
    ),
    "failover after machines that failed": Case(
        ending=Ending.SUCCEEDED,
        tries=(Try(hourly_usd=9.0, fails_after=900.0), Try(region="us-west-2", hourly_usd=1.0)),
        nodes=2,
        ends=tuple(NodeEnd(rank=rank, exit_code=0) for rank in range(2)),
        unseen=True,
    ),
    "several nodes": Case(
        ending=Ending.SUCCEEDED, nodes=4, ends=tuple(NodeEnd(rank=rank, exit_code=0) for rank in range(4))
    ),
    "several nodes of which one was lost": Case(
        ending=Ending.PREEMPTED, nodes=2, loses=(1, 300.0, False), local_only="it does not date the loss of one node"
    ),
    **{
        f"cancelled at {step}": Case(ending=Ending.CANCELLED, dies_at=step, cancelled=True, unseen=step == "created")
        for step in ("created", "follow", "ran", "fetch")
    },
    **{
        f"killed at {step} and told by post": Case(
            ending=Ending.CANCELLED,
            dies_at=step,
            unseen=step == "created",
            local_only="post cannot know that main had ended the machine" if step == "down" else "",
        )
        for step in STEPS[1:]
    },
}


def told_and_metered(case: Case, folder: Path, *, through: str = "") -> tuple[Outcome, float, float, House]:
    house = House(folder, through=through)
    engine = house.engine
    engine.tries, engine.works, engine.ends, engine.loses = case.tries, case.works, case.ends, case.loses

    def at(step: str) -> None:
        if step == case.dies_at:
            engine.at = lambda _: None
            house.clock.sleep(200)
            house.cloud.cut_off = not case.cancelled
            raise KeyboardInterrupt if case.cancelled else Killed

    engine.at = at
    plan = replace(PLAN, machines=replace(PLAN.machines, num_nodes=case.nodes), limits=case.limits)
    try:
        outcome = house.run(plan)
    except Killed:
        house.cloud.cut_off = False
        house.clock.sleep(90)
        outcome = house.post()
    kept = outcome.release.kept if outcome.release else None
    metered = house.cloud.meter.usd(kept.until if kept else house.clock.now())
    return outcome, outcome.cost.usd if outcome.cost else 0.0, metered, house


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
    outcome, told, metered, _ = told_and_metered(case, tmp_path, through="api-server")
    assert outcome.ending is case.ending
    if case.unseen:
        assert outcome.cost is not None
        assert told >= metered * (1 - ONE_PERCENT), "a bound, and never less than the meter"
        assert told <= metered * LOOSEST_BOUND
        assert outcome.cost.ledger.is_bound
        assert money(outcome.cost).startswith("at most $")
        assert any(entry["at_most"] for entry in outcome_json(outcome))
        assert case.dies_at or any("the most that it may be" in one for one in outcome.warnings)
    elif case.local_only:
        assert told >= metered * (1 - ONE_PERCENT), case.local_only
        assert outcome.cost is not None and outcome.cost.ledger.is_bound, "more than the meter, and named so"
    else:
        assert told == pytest.approx(metered, rel=ONE_PERCENT), outcome.cost
        if case.loses is None and not case.dies_at:
            assert outcome.cost is None or not outcome.cost.ledger.is_bound


def outcome_json(outcome: Outcome) -> list[dict[str, object]]:
    entries = to_json(outcome)["ledger"]
    assert isinstance(entries, list)
    return entries


def test_a_run_again_is_more_money_and_the_first_attempt_s_stays(tmp_path: Path) -> None:
    first = told_and_metered(CASES["failed"], tmp_path)
    second = told_and_metered(CASES["succeeded"], tmp_path)
    assert first[1] + second[1] == pytest.approx(first[2] + second[2], rel=ONE_PERCENT)


def test_a_large_disk_is_told_too(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.engine.works = 3000.0
    outcome = house.run(replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(disk_gb=16_384))))
    assert outcome.cost is not None
    assert outcome.cost.usd == pytest.approx(house.cloud.meter.usd(house.clock.now()), rel=ONE_PERCENT)
    assert outcome.cost.usd > 10 * 0.1 * 3000 / 3600, "nearly all of it is the disk"
