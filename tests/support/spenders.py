"""Runs of every ending on the fake cloud, with a scripted engine: what is told is held against the provider's meter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cvl_ci.engine.deadline import Deadline
from cvl_ci.errors import CapacityError
from cvl_ci.model.budget import Budget
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Phase
from cvl_ci.ports import AttemptFailed, Attempting, AttemptNamed, Began, JobEnd, LaunchRequest, Watch
from tests.support.fakes import FakeEngine


@dataclass(frozen=True, kw_only=True)
class Try:
    """One place. `refused`: no machine comes. `fails_after`: machines come, and do not answer within these seconds."""

    region: str = "us-east-1"
    hourly_usd: float = 0.1
    spot: bool = False
    refused: bool = False
    fails_after: float | None = None


@dataclass
class Spender(FakeEngine):
    """An engine that follows a script, and max_cost as the real one does: with engine/deadline.py.

    `boots`: seconds until the job begins. `works`: of the job. `loses`: what ends machines during the job without the
    run: how many, after how many seconds, taken by the provider or not; the run notices `late` seconds later.
    `unpriced`: a server announces no place and no price, so the dearest offer of the quote bounds its attempts.
    `names`: then its record of the cluster names them.
    """

    tries: tuple[Try, ...] = (Try(),)
    boots: float = 60.0
    works: float = 30.0
    loses: tuple[int, float, bool] | None = None
    late: float = 0.0
    unpriced: bool = False
    names: bool = False
    until: float = 0.0
    born: list[str] = field(default_factory=list)

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        plan, clock = request.plan, self.cloud.clock
        nodes, disk_gb = plan.machines.num_nodes, plan.machines.needs.disk_gb
        budget = Budget(max_usd=plan.limits.max_cost_usd, spent_usd=request.spent_usd)
        end = Deadline(request.deadline, budget=budget, nodes=nodes, disk_gb=disk_gb, now=clock.now)
        self.at("launch")
        for one in self.tries:
            end.set_price(one.hourly_usd, cloud="aws")
            if not end.is_affordable:
                continue
            attempt = self._attempt(one)
            watch(Attempting(attempt=attempt))
            self.at("asked")
            if one.refused:
                clock.sleep(3)
                watch(AttemptFailed(attempt=_failed(attempt, "InsufficientInstanceCapacity", 0)))
                continue
            asked_at, self.until = clock.now(), end.at
            self.born = [
                self.cloud.create(
                    lease=request.cluster,
                    region=one.region,
                    hourly_usd=one.hourly_usd,
                    disk_gb=disk_gb,
                    spot=one.spot,
                )
                for _ in range(nodes)
            ]
            for name in self.born:
                self.cloud.meter.machines[name].limit = end.at
            if self.names:
                attempt = self._attempt(one, is_named=True)
                watch(AttemptNamed(attempt=attempt))
            self.cloud.came_up = one.fails_after is None
            self.at("created")
            if one.fails_after is not None:
                clock.sleep(min(one.fails_after, max(0.0, end.at - clock.now())))
                for name in self.born:
                    self.cloud.end(name)
                end.note_failure(nodes)
                watch(AttemptFailed(attempt=_failed(attempt, "never answered by ssh", nodes)))
                continue
            clock.sleep(min(self.boots, max(0.0, end.at - clock.now())))
            return Launch(
                cluster=request.cluster,
                cloud="aws",
                region=one.region,
                zone=None,
                instance_type="m6i.large",
                accelerators={},
                spot=one.spot,
                num_nodes=nodes,
                hourly_usd=one.hourly_usd,
                created_at=asked_at,
            )
        raise CapacityError("No place has it.")

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        clock = self.cloud.clock
        self.at("follow")
        watch(Began(phase=Phase.RUNNING))
        if self.loses is not None:
            count, seconds, was_taken = self.loses
            clock.sleep(seconds)
            for name in self.born[:count]:
                self.cloud.end(name, taken=was_taken)
            clock.sleep(self.late)
            kind = LossKind.PREEMPTED if was_taken else LossKind.NODE_LOST
            return JobEnd(lost=Lost(kind=kind, why="the provider shows fewer machines"))
        limit = min(until, self.until)
        is_cut = clock.now() + self.works > limit
        clock.sleep(max(0.0, min(self.works, limit - clock.now())))
        self.at("ran")
        ends = tuple(NodeEnd(rank=0, exit_code=None, timed_out=True) if is_cut else one for one in self.ends)
        return JobEnd(nodes=ends)

    def keep(self, cluster: str, *, until: float, public_key: str | None, heartbeat: float = 0.0) -> Sequence[str]:
        for name in self.born:
            self.cloud.meter.machines[name].limit = until
        return super().keep(cluster, until=until, public_key=public_key)

    def _attempt(self, one: Try, *, is_named: bool = False) -> Attempt:
        is_bound = self.unpriced and not is_named
        place = "" if is_bound else one.region
        price = max(item.hourly_usd for item in self.tries) if is_bound else one.hourly_usd
        return Attempt(
            cloud="aws",
            region=place,
            zone=None,
            instance_type="m6i.large",
            spot=one.spot,
            hourly_usd=price,
            is_bound=is_bound,
        )


def _failed(attempt: Attempt, error: str, machines: int) -> Attempt:
    return Attempt(**{**vars(attempt), "error": error, "machines": machines})
