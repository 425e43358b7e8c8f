"""Every ending of a run on the fake cloud, by the local engine and through API servers, with the provider's meter."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

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


@dataclass(frozen=True, kw_only=True)
class Server:
    """An API server. `names`: it answers during a launch which machine it requests. `records`: it tells its history."""

    names: bool = False
    records: bool = False
    has_keys: bool = False
    """This computer has keys of the cloud too."""


SERVERS = {
    "answers": Server(names=True, records=True),
    "answers, with keys": Server(names=True, records=True, has_keys=True),
    "answers late": Server(records=True),
    "tells nothing": Server(),
}


class House:
    """A run on the fake cloud. `server`: it goes through one, which dates no machine by the provider's clock."""

    def __init__(self, folder: Path, *, server: Server | None = None) -> None:
        self.clock, self.through = FakeClock(), "api-server" if server else ""
        self.cloud = FakeCloud(
            self.clock,
            remembers=server is None,
            dated=server is None,
            records=bool(server and server.records),
            asks_provider=bool(server and server.has_keys),
        )
        self.engine = Spender(self.cloud, unpriced=server is not None, names=bool(server and server.names))
        self.reporter, self.records, self.folder = FakeReporter(), FakeRecords(folder), folder

    def run(self, plan: RunPlan) -> Outcome:
        ports = running.RunPorts(
            clouds=FakeClouds(self.engine, through=self.through),
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=self.reporter,
            prices=FakePrices(),
            clock=self.clock,
        )
        return running.run(plan, owner=OWNER, outputs=self.folder / "out", ports=ports)

    def post(self) -> Outcome:
        """Release and tell after main was killed, as post does: from what main saved."""
        record = self.records.kept[OWNER.name]
        engine = Spender(self.cloud)
        lease = Lease(
            record, machines=engine, inventory=self.cloud, records=self.records, clock=self.clock, say=lambda _: None
        )
        release = lease.release(maybe_created=True)
        state = StepState(lease=OWNER.name, spending=self.reporter.spending or Spending())
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
    no_evidence: str = ""
    """Why cvl-ci tells more than the meter through every server."""
    no_history: str = ""
    """The same, through a server that tells no history."""
    unseen: bool = False
    """The launch ends before SkyPilot's client names the machine: only the server's own record does."""


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
        no_evidence="it does not know who ended the machine",
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
        ending=Ending.PREEMPTED, nodes=2, loses=(1, 300.0, False), no_evidence="it does not date the loss of one node"
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
            no_history="post cannot know that main had ended the machine" if step == "down" else "",
        )
        for step in STEPS[1:]
    },
}


def told_and_metered(case: Case, folder: Path, *, server: Server | None = None) -> tuple[Outcome, float, float, House]:
    house = House(folder, server=server)
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


def table() -> str:
    """Return the told cost against the meter, for each ending and each way to the provider, in Markdown."""
    ways = "through an API server | and AWS keys here | through one without a record"
    rows = [f"| ending | the meter | local engine | {ways} |", "|---|---|---|---|---|---|"]
    for name, case in CASES.items():
        cells, metered = [], 0.0
        for server in (None, SERVERS["answers"], SERVERS["answers, with keys"], SERVERS["tells nothing"]):
            with tempfile.TemporaryDirectory() as folder:
                outcome, text, metered, _ = told_and_metered(case, Path(folder), server=server)
            cells.append(_compared(outcome, text, metered))
        rows.append(f"| {name} | ${metered:.3f} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _compared(outcome: Outcome, told: float, metered: float) -> str:
    share = 100 * (told / metered - 1) if metered else 0.0
    bound = "at most " if outcome.cost is not None and outcome.cost.ledger.is_bound else ""
    return f"{bound}${told:.3f} ({share:+.1f} %)".replace("-0.0 %", "0.0 %").replace("+0.0 %", "0.0 %")
