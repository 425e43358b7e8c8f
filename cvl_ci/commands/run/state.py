"""Collect the facts of a run: phases, attempts, and the engine's messages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvl_ci.errors import CvlError
from cvl_ci.lease import Lease
from cvl_ci.model.launch import Attempt, Launch, Spending
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.loss import LossKind, Lost, Recovery
from cvl_ci.model.model_plan import ModelPlan
from cvl_ci.model.offer import Quote
from cvl_ci.model.outcome import Phase
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.model.reuse import MachineUse
from cvl_ci.model.service import ServiceResult
from cvl_ci.model.storage import Bucket
from cvl_ci.ports import (
    AttemptFailed,
    Attempting,
    AttemptNamed,
    Began,
    CheckpointBytes,
    Clock,
    Cloud,
    Clouds,
    Event,
    Fetched,
    JobEnd,
    KeyLock,
    KeyLocks,
    Line,
    MakingBucket,
    Prices,
    Progress,
    Records,
    RunReporter,
    Services,
    Staging,
)
from cvl_ci.result import spent


@dataclass(frozen=True, kw_only=True)
class RunPorts:
    """Ports that a run needs."""

    clouds: Clouds
    records: Records
    staging: Staging
    reporter: RunReporter
    prices: Prices
    clock: Clock
    interruptible: Callable[[], AbstractContextManager[object]] | None = None
    """While this is open, a second Ctrl-C also ends the wait for the outputs of a stopped job."""
    services: Services | None = None
    """Sends requests to the service that the plan starts. None: the plan starts none."""
    token: str = ""
    """The token of that service."""
    locks: KeyLocks | None = None
    """The locks of machines that wait between runs. None: this entry point has none."""
    note_lease: Callable[[str], None] = lambda _: None
    """Gets the name of a lease of another run, before this run takes it over or ends it."""
    models: Callable[[ModelPlan, str, Callable[[str], None]], None] | None = None
    """Has a plan's models in their bucket: the second argument names this run, the third receives lines."""


@dataclass(kw_only=True)
class Timeline:
    """The phases of a run with their seconds. One phase ends where the next begins, so they add up to the whole."""

    clock: Clock
    started: float
    phases: dict[str, float] = field(default_factory=dict)
    phase: Phase | None = None
    phase_start: float = 0.0

    def enter(self, phase: Phase | None) -> None:
        now = self.clock.monotonic()
        if self.phase is not None:
            name = self.phase.value
            self.phases[name] = self.phases.get(name, 0.0) + now - self.phase_start
        self.phase, self.phase_start = phase, now

    @property
    def ran_seconds(self) -> float:
        """Return the seconds of setup and job until now, on all machines that the run had one after the other."""
        names = (Phase.SETUP, Phase.RUNNING)
        open_seconds = self.clock.monotonic() - self.phase_start if self.phase in names else 0.0
        return open_seconds + sum(self.phases.get(name.value, 0.0) for name in names)


@dataclass(kw_only=True)
class Launches:
    """The machines of a run: one launch after the other, with all requests.

    `current`: the latest machines. `attempts`: all requests; those that failed have an error. `broken`: the requests
    whose machines were given back, because one of them was broken.
    """

    current: Launch | None = None
    attempts: list[Attempt] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    broken: list[Attempt] = field(default_factory=list)
    key_lock: KeyLock | None = None
    """The lock of the key of its machine, while the run has it."""

    @property
    def number(self) -> int:
        """Return the number of the current launch, from 1."""
        return len(self.recoveries) + 1

    @property
    def replacements(self) -> int:
        """Return how many launches were given back because a machine was broken."""
        return sum(recovery.lost.kind is LossKind.UNFIT for recovery in self.recoveries)

    @property
    def losses(self) -> int:
        """Return how many launches were lost otherwise."""
        return len(self.recoveries) - self.replacements

    def note_resumed(self, *, at: float) -> None:
        """Record that new machines run the job, after each loss since it ran last."""
        self.recoveries = [
            replace(recovery, resumed_at=at) if recovery.resumed_at is None else recovery
            for recovery in self.recoveries
        ]

    def refused(self) -> tuple[Attempt, ...]:
        """Return the requests that a place refused. Machines that came up and were lost are not among them."""
        return tuple(attempt for attempt in self.attempts if attempt.error is not None and not attempt.machines)

    def release_key(self) -> None:
        """Let other runs have the key. A repetition is safe."""
        lock, self.key_lock = self.key_lock, None
        if lock is not None:
            lock.release()


@dataclass(kw_only=True)
class RunFacts:
    """The end of a run, as far as it is known."""

    job: JobEnd | None = None
    lost_at: float | None = None
    """The moment at which the run noticed that its machines had ended without it."""
    fetched: Fetched = field(default_factory=Fetched)
    release: Release | None = None
    failure: CvlError | None = None
    cancelled: bool = False
    came_through: bool = False
    """Whether the outputs were fetched, or machines were lost or broken for good: no error of cvl-ci ended the run."""
    warnings: list[str] = field(default_factory=list)
    uncounted: MachineUse | None = None
    """The key of machines that this run ended, and their cost that no run counts, because theirs was killed."""

    @property
    def lost(self) -> Lost | None:
        return self.job.lost if self.job else None


@dataclass(frozen=True, kw_only=True)
class MachineSharing:
    """The limits of a machine for all its jobs. `is_further`: it had another job before this one.

    `use`: this run's use of a machine that waits between runs.
    """

    limits: Limits
    is_further: bool
    use: MachineUse | None = None

    @property
    def is_entered(self) -> bool:
        """Return whether an earlier run launched the machine."""
        return self.use is not None and self.use.is_warm

    @property
    def is_first_use(self) -> bool:
        """Return whether this run launches the machine for later runs too, at its own cost alone."""
        return self.use is not None and not self.use.is_warm


@dataclass(kw_only=True)
class RunState:
    """Facts of a run so far; they become the Outcome."""

    plan: RunPlan
    quote: Quote
    owner: Owner
    outputs: Path
    ports: RunPorts
    timeline: Timeline
    cloud: Cloud | None = None
    lease: Lease | None = None
    launches: Launches = field(default_factory=Launches)
    facts: RunFacts = field(default_factory=RunFacts)
    service: ServiceResult | None = None
    """The service, once it has answered."""
    sharing: MachineSharing | None = None
    """The machine, where several jobs use it in turn."""

    @property
    def is_recovering(self) -> bool:
        """Return whether the machines were lost, and no new machine runs the job yet."""
        recoveries = self.launches.recoveries
        return bool(recoveries) and recoveries[-1].resumed_at is None

    def hold(self, lease: Lease) -> None:
        """Take over the lease of another run: any end of this run releases it."""
        self.ports.note_lease(lease.name)
        self.lease = lease

    def enter(self, phase: Phase | None) -> None:
        self.timeline.enter(phase)
        if phase is not None:
            self.ports.reporter.show_phase(phase)

    def watch(self, event: Event) -> None:
        reporter = self.ports.reporter
        match event:
            case Line(text=text):
                reporter.show_job_line(text)
            case Progress(text=text):
                reporter.progress(text)
            case Began(phase=phase):
                if phase is not self.timeline.phase:
                    self.enter(phase)
                self.launches.note_resumed(at=self.ports.clock.now())
            case Attempting(attempt=attempt):
                self._record_attempt(attempt)
            case AttemptNamed(attempt=attempt):
                self._name(attempt)
            case AttemptFailed(attempt=attempt):
                self.launches.attempts[-1:] = [self._failed(attempt)]
                self._tell_price()
                reporter.show(f"{attempt.where} refused: {attempt.error}")
            case CheckpointBytes(count=count):
                self._note_copied(count)
            case MakingBucket(bucket=bucket):
                self._note_bucket(bucket)

    def note_launch(self, launch: Launch) -> None:
        """Note the machines, which have the job. An API server names them and their price only now."""
        self.facts.job, self.facts.lost_at = None, None
        self.launches.current = launch
        self._name(launch)

    def _name(self, machine: Launch | Attempt) -> None:
        """Give the latest attempt its machine and price."""
        if self.launches.attempts:
            names = ("cloud", "region", "zone", "instance_type", "spot", "hourly_usd")
            facts = {name: getattr(machine, name) for name in names}
            self.launches.attempts[-1] = replace(self.launches.attempts[-1], is_bound=False, **facts)
            self._tell_price()

    def _note_bucket(self, bucket: Bucket) -> None:
        if self.lease is not None:
            self.lease.record_bucket(bucket)
        end = "stays after the run" if bucket.stays else "ends with the run"
        self.ports.reporter.show(f"making the bucket {bucket} in {bucket.region}, which {end}")

    def _note_copied(self, count: int) -> None:
        """Save the traffic at once: after a killed main, post has only the saved facts."""
        if self.launches.attempts:
            last = self.launches.attempts[-1]
            self.launches.attempts[-1] = replace(last, copied_bytes=last.copied_bytes + count)
            self._tell_price()

    def _tell_price(self) -> None:
        machines = self.plan.machines
        spending = Spending(
            attempts=tuple(self.launches.attempts),
            nodes=machines.num_nodes,
            disk_gb=machines.needs.largest_disk_gb,
            billed=self.cloud is None or self.cloud.billed,
        )
        self.ports.reporter.show_price(spending)
        self._record_price(spending)

    def _record_price(self, spending: Spending) -> None:
        """Record the requests of the lease. The run that launched a warm machine has recorded it from its beginning."""
        lease, records = self.lease, self.ports.records
        if lease is None:
            return
        if self.sharing is not None and self.sharing.is_entered:
            if records.spending(lease.name) is not None:
                return
            own = tuple(replace(one, requested_at=lease.record.taken_at) for one in spending.attempts)
            spending = replace(spending, attempts=own)
        records.note_spending(lease.name, spent.worth_recording(spending))

    def _failed(self, attempt: Attempt) -> Attempt:
        now = self.ports.clock.now()
        requested_at = self.launches.attempts[-1].requested_at if self.launches.attempts else now
        return replace(attempt, requested_at=requested_at, ended_at=now)

    def _record_attempt(self, attempt: Attempt) -> None:
        if self.lease is not None:
            through = self.cloud.through if self.cloud else ""
            self.lease.record_attempt(
                attempt, location=Location(cloud=through or attempt.cloud, region=attempt.region or None)
            )
        self.launches.attempts.append(replace(attempt, requested_at=self.ports.clock.now()))
        self._tell_price()
        spot = " spot" if attempt.spot else ""
        self.ports.reporter.show(
            f"asking {attempt.where} for {self.plan.machines.num_nodes} × {attempt.instance_type}{spot}"
        )
