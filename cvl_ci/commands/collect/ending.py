"""Build the outcome of a detached run from the end that its machine stored, and from the provider's proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cvl_ci.commands.collect.running import StillRunning, cost_so_far
from cvl_ci.commands.run.outcome import metrics_of
from cvl_ci.model.detached import Detached
from cvl_ci.model.ledger import Cost
from cvl_ci.model.limits import Limits
from cvl_ci.model.loss import ControllerRecoveries, LossKind, Lost
from cvl_ci.model.outcome import FileResult, MachineResult, Measurements, Outcome, Phase, Timing
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.ports import DetachedEnd, Fetched, LeaseRecord
from cvl_ci.result.conclusion import Conclusion, conclude
from cvl_ci.result.ledger import Ends, build
from cvl_ci.result.text import left_behind

SILENT_SECONDS = 3_600.0
"""So long after its deadline, a run waits for a bucket that gives no answer. The machine stored all before it."""
OVERDUE_SECONDS = 600.0
"""So long after its deadline, a managed job without a stored end is cancelled. Its machine needs a part of it."""
TIMER_SECONDS = 60.0
"""A machine's own timer may end it so much after its deadline: it looks every 15 seconds."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything known of a detached run. `end` None: it stored none. `silence`: why its bucket gives no answer.

    `now`: epoch seconds. `price_source`: the day of the prices.
    """

    detached: Detached
    end: DetachedEnd | None
    release: Release
    fetched: Fetched
    controller: ControllerRecoveries | None = None
    silence: str = ""
    now: float
    price_source: str = ""

    @property
    def ran_seconds(self) -> float:
        """Return how long the job ran: its end is the word of a machine."""
        ended_at = self.end.ended_at if self.end else self.now
        return max(0.0, min(ended_at, self.now) - self.detached.began_at)


def outcome(record: LeaseRecord, facts: Facts, *, outputs: Path) -> Outcome:
    """Return the outcome. A run without a stored end is never a success."""
    detached, release, end = facts.detached, facts.release, facts.end
    conclusion = _conclusion(record, facts)
    measured, unread = metrics_of(outputs, [file.path for file in facts.fetched.files])
    nodes = (end.node,) if end else ()
    warnings = [*unread, *filter(None, [left_behind(nodes)]), *facts.fetched.warnings]
    warnings += [facts.fetched.problem] if facts.fetched.problem else []
    return Outcome(
        ending=conclusion.ending,
        reason=conclusion.reason,
        exit_code=conclusion.exit_code,
        advice=conclusion.advice,
        work=detached.work,
        machines=MachineResult(
            cluster=record.name,
            launch=detached.launch,
            attempts=detached.spending.attempts,
            nodes=nodes,
            controller=facts.controller,
        ),
        timing=Timing(
            phases={Phase.RUNNING.value: facts.ran_seconds},
            duration_seconds=max(0.0, detached.began_at + facts.ran_seconds - record.taken_at),
        ),
        cost=_cost(record, facts),
        files=FileResult(
            fetched=facts.fetched.files,
            refused=facts.fetched.refused,
            directory=str(outputs) if facts.fetched.files else "",
        ),
        measurements=Measurements(metrics=measured.metrics, samples=measured.samples),
        release=release,
        warnings=tuple(warnings),
    )


def still_running(
    record: LeaseRecord, detached: Detached, *, now: float, doubt: str = "", was_released: bool = False
) -> StillRunning:
    """Return a run that is not over, or of which nothing certain is known (`doubt`)."""
    return StillRunning(
        lease=record.name,
        title=detached.title,
        until=record.deadline,
        usd=cost_so_far(detached, now=now),
        billed=detached.spending.billed,
        doubt=doubt,
        was_released=was_released,
    )


def _conclusion(record: LeaseRecord, facts: Facts) -> Conclusion:
    detached, end = facts.detached, facts.end
    own = detached.limits
    limits = Limits(max_runtime_minutes=own.max_runtime_minutes, max_cost_usd=own.max_cost_usd, idle=own.idle)
    mount = end.node.failed_mount if end else None
    return conclude(
        plan=RunPlan(title=detached.title, limits=limits),
        launch=detached.launch,
        nodes=(end.node,) if end else None,
        lost=None if end else _loss(record, facts),
        release=facts.release,
        failure=None,
        cancelled=end is None and record.is_cancelled,
        attempts=detached.spending.attempts,
        ran_seconds=facts.ran_seconds,
        failed_mount=f"A mount of the machine failed: {mount.fault.value}." if mount else "",
    )


def _loss(record: LeaseRecord, facts: Facts) -> Lost:
    """Return the loss of a machine that stored no end. Whether its job did its work is not known."""
    spot = facts.detached.launch.spot and facts.now < record.deadline
    place = facts.detached.place
    if facts.silence:
        why = (
            f"the provider shows no machine of {record.name} after its deadline. The bucket {place.bucket} "
            f"is the likely cause: it gives no answer. {facts.silence} "
            f"If the job stored its results, they are in {place}"
        )
        return Lost(kind=LossKind.NODE_LOST, why=why)
    why = f"the provider shows no machine of {record.name}, and {place} has no end of its job"
    return Lost(kind=LossKind.PREEMPTED if spot else LossKind.NODE_LOST, why=why)


def _cost(record: LeaseRecord, facts: Facts) -> Cost | None:
    """Return the cost. A provider that forgot the machine leaves a bound: it ended by its deadline at the latest."""
    spending, release = facts.detached.spending, facts.release
    removed_at = release.at if release.removed_at is None else release.removed_at
    latest = min(removed_at, record.deadline + TIMER_SECONDS)
    ledger = build(
        spending.attempts,
        nodes=spending.nodes,
        disk_gb=spending.disk_gb,
        ends=Ends(removed_at=latest, gone_at=latest, lost_at=latest, is_latest=True),
        memory=release.memory,
        fetched_bytes=sum(file.bytes for file in facts.fetched.files),
        price_source=facts.price_source,
        buckets=(*release.buckets, *release.ended_buckets),
    )
    if not ledger.entries:
        return None
    return Cost(
        ledger=ledger,
        hourly_usd=spending.hourly_usd,
        estimated_usd=facts.detached.estimated_usd,
        billed=spending.billed,
    )
