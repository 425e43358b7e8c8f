"""Collect the facts of a run: phases, attempts, and the engine's messages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvl_ci.errors import CvlError
from cvl_ci.lease import Lease, Owner
from cvl_ci.model.launch import Attempt, Launch, Spending
from cvl_ci.model.location import Location
from cvl_ci.model.model_plan import ModelPlan
from cvl_ci.model.offer import Quote
from cvl_ci.model.outcome import Phase
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.ports import (
    AttemptFailed,
    Attempting,
    Began,
    Clock,
    Cloud,
    Clouds,
    Event,
    Fetched,
    JobEnd,
    Line,
    MakingBucket,
    Prices,
    Progress,
    Records,
    RunReporter,
    Staging,
)


@dataclass(frozen=True, kw_only=True)
class RunPorts:
    """Ports that a run needs."""

    clouds: Clouds
    records: Records
    staging: Staging
    workflow: RunReporter
    prices: Prices
    clock: Clock
    interruptible: Callable[[], AbstractContextManager[object]] | None = None
    """While this is open, a second Ctrl-C also ends the wait for the outputs of a stopped job."""
    models: Callable[[ModelPlan, str, Callable[[str], None]], None] | None = None
    """Has a plan's models in their bucket: the second argument names this run, the third receives lines."""


@dataclass(kw_only=True)
class RunState:
    """Facts of a run so far; they become the Outcome."""

    plan: RunPlan
    quote: Quote
    owner: Owner
    outputs: Path
    tools: RunPorts
    started: float
    cloud: Cloud | None = None
    lease: Lease | None = None
    launch: Launch | None = None
    job: JobEnd | None = None
    fetched: Fetched = field(default_factory=Fetched)
    release: Release | None = None
    attempts: list[Attempt] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    phase: Phase | None = None
    phase_began: float = 0.0
    lost_at: float | None = None
    """The moment at which the run noticed that its machines had ended without it."""
    failure: CvlError | None = None
    cancelled: bool = False
    came_through: bool = False
    """Whether launch and fetch both succeeded, without an error of cvl-ci."""
    warnings: list[str] = field(default_factory=list)

    def enter(self, phase: Phase | None) -> None:
        """Enter a phase. One phase ends where the next begins, so the phases add up to the whole."""
        now = self.tools.clock.monotonic()
        if self.phase is not None:
            name = self.phase.value
            self.phases[name] = self.phases.get(name, 0.0) + now - self.phase_began
        self.phase, self.phase_began = phase, now
        if phase is not None:
            self.tools.workflow.began(phase)

    def watch(self, event: Event) -> None:
        workflow = self.tools.workflow
        match event:
            case Line(text=text):
                workflow.remote(text)
            case Progress(text=text):
                workflow.progress(text)
            case Began(phase=phase):
                if phase is not self.phase:
                    self.enter(phase)
            case Attempting(attempt=attempt):
                self._record_attempt(attempt)
            case AttemptFailed(attempt=attempt):
                self.attempts[-1:] = [self._failed(attempt)]
                self._tell_price()
                workflow.show(f"{attempt.where} refused: {attempt.error}")
            case MakingBucket(bucket=bucket):
                if self.lease is not None:
                    self.lease.record_bucket(bucket)
                end = "stays after the run" if bucket.stays else "ends with the run"
                workflow.show(f"making the bucket {bucket} in {bucket.region}, which {end}")

    def launched(self, launch: Launch) -> None:
        """Note the machines. An API server names them and their price only now."""
        self.launch = launch
        if self.attempts:
            facts = {name: getattr(launch, name) for name in ("cloud", "region", "zone", "instance_type", "spot")}
            self.attempts[-1] = replace(self.attempts[-1], hourly_usd=launch.hourly_usd, **facts)
            self._tell_price()

    def _tell_price(self) -> None:
        machines = self.plan.machines
        self.tools.workflow.priced(
            Spending(
                attempts=tuple(self.attempts),
                nodes=machines.num_nodes,
                disk_gb=machines.needs.largest_disk_gb,
                billed=self.cloud is None or self.cloud.billed,
            )
        )

    def _failed(self, attempt: Attempt) -> Attempt:
        now = self.tools.clock.now()
        requested_at = self.attempts[-1].requested_at if self.attempts else now
        return replace(attempt, requested_at=requested_at, ended_at=now)

    def _record_attempt(self, attempt: Attempt) -> None:
        if self.lease is not None:
            through = self.cloud.through if self.cloud else ""
            self.lease.record_attempt(
                attempt, place=Location(cloud=through or attempt.cloud, region=attempt.region or None)
            )
        self.attempts.append(replace(attempt, requested_at=self.tools.clock.now()))
        self._tell_price()
        spot = " spot" if attempt.spot else ""
        self.tools.workflow.show(
            f"asking {attempt.where} for {self.plan.machines.num_nodes} × {attempt.instance_type}{spot}"
        )
