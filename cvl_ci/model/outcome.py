"""Hold the result of a run: a finished run has an Outcome, and an Outcome has a proof of release. Values only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from cvl_ci.model.fitness import MachineState
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.ledger import Cost
from cvl_ci.model.loss import ControllerRecoveries, Recovery
from cvl_ci.model.node_end import GpuUse, NodeEnd
from cvl_ci.model.paired_comparison import PairedComparison
from cvl_ci.model.release import Release
from cvl_ci.model.reuse import MachineUse
from cvl_ci.model.service import ServiceResult
from cvl_ci.model.work_identity import WorkIdentity


class Ending(enum.Enum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OVER_BUDGET = "over_budget"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    NEVER_STARTED = "never_started"
    UNFIT = "unfit"
    """The machine was broken before the job began."""
    IDLE = "idle"
    """The job left its GPUs alone, and min_gpu_utilization ended it."""
    STORAGE_FAILED = "storage_failed"
    """A mount failed, before the job or after its success."""
    DETACHED = "detached"
    """The job runs on without its run: it has no end yet."""


class Phase(enum.Enum):
    """Phases of a run, in order."""

    WAITING = "waiting"
    """Another run uses the machine of the key."""
    SANDBOX = "sandbox"
    STAGING = "staging"
    PROVISIONING = "provisioning"
    SETUP = "setup"
    RUNNING = "running"
    RECOVERING = "recovering"
    FETCHING = "fetching"
    RELEASING = "releasing"


EXIT_CODES = {
    Ending.SUCCEEDED: 0,
    Ending.TIMED_OUT: 124,
    Ending.OVER_BUDGET: 78,
    Ending.PREEMPTED: 75,
    Ending.CANCELLED: 130,
    Ending.UNFIT: 75,
    Ending.IDLE: 124,
    Ending.STORAGE_FAILED: 70,
    Ending.DETACHED: 0,
}
"""FAILED has the job's own code, NEVER_STARTED the code of the error that prevented it."""

EXIT_NOT_PROVED_GONE = 79


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    path: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class MachineResult:
    """The requests for machines, the machines, and the end of the job on each of them.

    `cluster`: the name of the lease and of its cluster.
    """

    cluster: str
    attempts: tuple[Attempt, ...] = ()
    launch: Launch | None = None
    nodes: tuple[NodeEnd, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    """The losses and the returns of earlier machines, also those that no new machine followed."""
    controller: ControllerRecoveries | None = None
    """The recoveries of which an API server's controller alone knows. None: cvl-ci itself replaces lost machines."""
    states_after: tuple[MachineState, ...] = ()
    """The machines after the job, by rank; empty if they were not probed again."""
    service: ServiceResult | None = None
    """The service that answered on the machine."""
    use: MachineUse | None = None
    """The use of a machine that waits between runs."""
    turn: int = 0
    """The number of this job on a machine that jobs of a queue share, from 1; 0: it shares none."""

    @property
    def recovery_count(self) -> int | None:
        """Return how often new machines went on with the job; None: it is not known."""
        if self.controller is not None:
            return self.controller.count
        return None if self.launch is None else sum(one.is_replaced for one in self.recoveries)

    @property
    def gpu(self) -> GpuUse | None:
        """Return the use of all nodes together."""
        uses = [node.gpu for node in self.nodes if node.gpu is not None]
        if not uses:
            return None
        peaks = [use.utilization_peak for use in uses if use.utilization_peak is not None]
        means = [use.utilization for use in uses if use.utilization is not None]
        return GpuUse(
            gpus=sum(use.gpus for use in uses),
            memory_mib=max(use.memory_mib for use in uses),
            memory_total_mib=max(use.memory_total_mib for use in uses),
            utilization=sum(means) / len(means) if means else None,
            utilization_peak=max(peaks, default=None),
            driver=next((use.driver for use in uses if use.driver), ""),
        )


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of the whole run, and of each phase by its name."""

    duration_seconds: float = 0.0
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """The files that came back, and the folder on this computer that holds them; empty without files."""

    fetched: tuple[FetchedFile, ...] = ()
    directory: str = ""
    refused: tuple[str, ...] = ()
    """Files of the machine that were refused, with the reason: hostile names, links out of the root."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """The metrics of the run, and their comparison with another commit that ran next to it."""

    metrics: Mapping[str, object] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Samples of metrics with more than one measurement."""
    comparison: PairedComparison | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a finished run. `exit_code` is the program's exit code."""

    ending: Ending
    reason: str
    exit_code: int
    advice: str = ""
    """The next step for a person."""
    warnings: tuple[str, ...] = ()
    work: WorkIdentity
    machines: MachineResult
    timing: Timing = field(default_factory=Timing)
    files: FileResult = field(default_factory=FileResult)
    measurements: Measurements = field(default_factory=Measurements)
    cost: Cost | None = None
    release: Release | None = None
