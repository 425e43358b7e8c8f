"""A thousand runs with max_cost on the fake cloud, each from a seed: what they cost by the provider's own meter."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from cvl_ci.commands.run import run as running
from cvl_ci.errors import BudgetError
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.offer import Offer
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
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

SEEDS = 1000
STEPS = ("created", "follow", "ran", "fetch", "down")


class WrongPrices(FakePrices):
    """A quote that is wrong by a factor."""

    def __init__(self, hourly_usd: float) -> None:
        self.hourly_usd = hourly_usd

    def offers(self, needs: ResourceRequest, *, locations: Sequence[Location], spot: Spot) -> Sequence[Offer]:
        return [
            replace(offer, hourly_usd=self.hourly_usd)
            for offer in super().offers(needs, locations=locations, spot=spot)
        ]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run. `metered`: its bill, all attempts included. `second`: the price of one second of its machines."""

    factor: float
    nodes: int
    disk_gb: int
    max_cost: float
    metered: float
    second: float
    attempts: int
    is_kept: bool = False
    is_killed: bool = False
    is_refused: bool = False

    @property
    def excess(self) -> float:
        return max(0.0, self.metered - self.max_cost)


@dataclass
class _Script:
    dice: random.Random
    price: float = 0.0
    tries: list[Try] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.price = 10 ** self.dice.uniform(-1.3, 2.0)
        for number in range(self.dice.randint(1, 6)):
            kind = self.dice.random()
            self.tries.append(
                Try(
                    region=("us-east-1", "us-west-2")[number % 2],
                    hourly_usd=self.price * 10 ** self.dice.uniform(-0.5, 1.0),
                    spot=self.dice.random() < 0.5,
                    refused=kind < 0.3,
                    fails_after=self.dice.uniform(1, 1800) if 0.3 <= kind < 0.6 else None,
                )
            )


def trial(seed: int, folder: Path) -> Trial:
    """Run one. The machine has a timer of its own: where the run was killed, it ends at the deadline."""
    dice = random.Random(seed)
    script = _Script(dice)
    factor = 10 ** dice.uniform(math.log10(0.003), math.log10(30))
    nodes, disk_gb = dice.choice([1, 1, 2, 4, 16]), dice.choice([10, 100, 1000, 16_384])
    dearest = max(one.hourly_usd for one in script.tries)
    max_cost = nodes * (dearest + disk_gb * 0.08 / 672) * 10 ** dice.uniform(-1.5, 1.0)
    keep_minutes = dice.choice([0.0, 30.0, 600.0, 6000.0])
    clock = FakeClock()
    cloud = FakeCloud(clock)
    engine = Spender(cloud, tries=tuple(script.tries), boots=dice.uniform(10, 900), works=10 ** dice.uniform(1, 5))
    code = dice.choice([0, 7])
    engine.ends = tuple(NodeEnd(rank=rank, exit_code=code) for rank in range(nodes))
    dies_at = dice.choice(STEPS) if dice.random() < 0.25 else ""

    def at(step: str) -> None:
        if step == dies_at:
            cloud.cut_off = True
            raise Killed

    engine.at, reporter = at, FakeReporter()
    plan = RunPlan(
        title="t",
        work=WorkPlan(run_commands=("x",)),
        machines=MachinePlan(
            locations=(Location(cloud="aws"),), num_nodes=nodes, needs=ResourceRequest(disk_gb=disk_gb)
        ),
        limits=Limits(max_runtime_minutes=2000, max_cost_usd=max_cost, keep_minutes=keep_minutes),
    )
    ports = running.RunPorts(
        clouds=FakeClouds(engine),
        records=FakeRecords(folder),
        staging=FakeStaging(folder),
        reporter=reporter,
        prices=WrongPrices(script.price * factor),
        clock=clock,
    )
    shape = Trial(
        factor=factor,
        nodes=nodes,
        disk_gb=disk_gb,
        max_cost=max_cost,
        metered=0.0,
        second=nodes * dearest / 3600,
        attempts=0,
    )
    owner = Owner(repository="a/b", run=str(seed))
    (folder / f"{owner.name}.fence").unlink(missing_ok=True)
    end, is_kept, attempts = 0.0, False, 0
    try:
        outcome = running.run(plan, owner=owner, outputs=folder / "out", ports=ports)
        kept = outcome.release.kept if outcome.release else None
        end, is_kept = (kept.until if kept else clock.now()), kept is not None
        attempts = len(outcome.machines.attempts)
    except BudgetError:
        return replace(shape, is_refused=True)
    except Killed:
        cloud.cut_off = False
        attempts = len(reporter.spending.attempts) if reporter.spending else 0
        clock.time = end = max(clock.now(), engine.until)
        for name in cloud.running():
            with suppress(KeyError):
                cloud.end(name)
    return replace(
        shape,
        metered=cloud.meter.usd(end),
        attempts=attempts,
        is_kept=is_kept,
        is_killed=bool(dies_at),
    )


@cache
def trials() -> tuple[Trial, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return tuple(trial(seed, Path(folder)) for seed in range(SEEDS))


@cache
def table() -> str:
    """Return the table of docs/guarantee.md."""
    groups = {
        "all": [*trials()],
        "quoted too low, 0.003 to 0.3 times": [one for one in trials() if one.factor < 0.3],
        "quoted too high, 3 to 30 times": [one for one in trials() if one.factor > 3],
        "several attempts": [one for one in trials() if one.attempts > 1],
        "several nodes": [one for one in trials() if one.nodes > 1],
        "a disk of 16 TB": [one for one in trials() if one.disk_gb > 10_000],
        "kept after its failure": [one for one in trials() if one.is_kept],
        "killed": [one for one in trials() if one.is_killed and not one.is_refused],
    }
    lines = [
        "| runs | number | refused before a request | highest share of max_cost | above max_cost |",
        "|---|---|---|---|---|",
    ]
    for name, those in groups.items():
        share = max((one.metered / one.max_cost for one in those), default=0.0)
        over = sum(one.excess > 0 for one in those)
        lines.append(f"| {name} | {len(those)} | {sum(one.is_refused for one in those)} | {share:.1%} | {over} |")
    return "\n".join(lines).replace("%", " %") + "\n"
