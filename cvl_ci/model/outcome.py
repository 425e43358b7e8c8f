"""Hold the result of a run: a finished run has an Outcome, and an Outcome has a proof of release. Values only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Ending(enum.Enum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OVER_BUDGET = "over_budget"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    NEVER_STARTED = "never_started"


class Phase(enum.Enum):
    """Phases of a run, in order."""

    SANDBOX = "sandbox"
    STAGING = "staging"
    PROVISIONING = "provisioning"
    SETUP = "setup"
    RUNNING = "running"
    FETCHING = "fetching"
    RELEASING = "releasing"


EXIT_CODES = {
    Ending.SUCCEEDED: 0,
    Ending.TIMED_OUT: 124,
    Ending.OVER_BUDGET: 78,
    Ending.PREEMPTED: 75,
    Ending.CANCELLED: 130,
}
"""FAILED has the job's own code, NEVER_STARTED the code of the error that prevented it."""

EXIT_NOT_PROVED_GONE = 79


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request for machines. `error` None: the run got its machines here.

    `requested_at`, `ended_at`: epoch seconds of the request and of its failure; 0 and None where they are unknown.
    `machines`: how many came up although the attempt failed, as far as the engine knows.
    """

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    spot: bool
    hourly_usd: float
    error: str | None = None
    requested_at: float = 0.0
    ended_at: float | None = None
    machines: int = 0

    @property
    def where(self) -> str:
        return "/".join(part for part in (self.cloud, self.zone or self.region) if part)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Existing machines. `hourly_usd` is for one node; `created_at` is seconds since the epoch."""

    cluster: str
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    accelerators: Mapping[str, int]
    spot: bool
    num_nodes: int
    hourly_usd: float
    created_at: float


@dataclass(frozen=True, kw_only=True)
class GpuUse:
    """A job's use of the GPUs, sampled every few seconds.

    The values are MiB and percent of the busiest GPU. `utilization`: the mean over all samples and GPUs. None: the
    driver does not report it.
    """

    gpus: int
    memory_mib: int
    memory_total_mib: int
    utilization: float | None = None
    utilization_peak: int | None = None
    driver: str = ""


MOST_LEFT = 20
"""The largest number of process names from one node."""


@dataclass(frozen=True, kw_only=True)
class NodeEnd:
    """End of the job on one node: its own exit code, or None if the node did not live to write it."""

    rank: int
    exit_code: int | None
    timed_out: bool = False
    phase: str = "running"
    ended_at: float | None = None
    """By the machine's own clock: it only decides which of two nodes failed first."""
    gpu: GpuUse | None = None
    turns: tuple[tuple[str, float], ...] = ()
    """Turns of a job that ran several times: each turn's name and its seconds, in the order of the turns."""
    base_exit_code: int | None = None
    """The exit code of the other commit's work, if it failed next to this one."""
    left_behind: tuple[str, ...] = ()
    """Processes that outlived their command, by name. The machine ended them."""


@dataclass(frozen=True, kw_only=True)
class ProviderCheck:
    """One question to a provider, and the resources of the lease that it still showed."""

    provider: str
    region: str
    kinds: tuple[str, ...]
    left: tuple[str, ...] = ()
    error: str | None = None
    skipped: tuple[str, ...] = ()
    """Kinds that the inventory skipped, and why. A run creates none of them, so the proof is complete without them."""

    @property
    def clean(self) -> bool:
        return not self.left and self.error is None


@dataclass(frozen=True, kw_only=True)
class KeptMachines:
    """Machines that are kept for a person after their job. They end at `until` (epoch seconds).

    `ways_in`: an ssh command for each node, head first.
    """

    until: float
    ways_in: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Release:
    """Proof, or its absence. `gone`: every provider shows no resource of this lease. `at`: epoch seconds."""

    gone: bool
    at: float
    asked: tuple[ProviderCheck, ...] = ()
    unproved: tuple[str, ...] = ()
    """Clouds whose provider gives no answer here. They never count as clean."""
    needed: bool = True
    """False: no machine was ever requested."""
    kept: KeptMachines | None = None
    """The machines are not gone because the user asked to keep them."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Measured time × catalogue price. Dollars; `billed` False on the sandbox, where the figure is only an example."""

    hourly_usd: float
    """The price of all nodes together, of the machine it ran on."""
    seconds: float
    """From the first creation to the proof, of the longest-lived node. For kept machines, to their latest end."""
    usd: float
    estimated_usd: float | None
    """The largest cost in the quote."""
    billed: bool = True
    kept_usd: float | None = None
    """The part of it that is still to come at most, while the machines are kept."""
    on_demand_hourly_usd: float | None = None
    """The price of the same machines on demand, if they were spot and the catalogue has it.

    It measures spot's saving.
    """


@dataclass(frozen=True, kw_only=True)
class Change:
    """One metric of two versions that ran on one machine.

    `head`, `base`: medians, or flags; None: no number there. `change`: a share of the base. `gated`: the better
    direction is known.
    """

    metric: str
    head: float | None
    base: float | None
    change: float | None
    verdict: str
    why: str = ""
    gated: bool = True

    @property
    def worse(self) -> bool:
        return self.verdict == "worse"


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Comparison of this commit's work with another commit's, run in turn.

    `order`: of the turns. `reason`: why there is no comparison; empty if there is one.
    """

    ref: str
    commit: str
    order: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    reason: str = ""

    @property
    def worse(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.worse)

    @property
    def changed(self) -> tuple[Change, ...]:
        """Return metrics that certainly changed, in an unknown direction."""
        return tuple(change for change in self.changes if change.verdict == "changed")

    @property
    def unsure(self) -> tuple[Change, ...]:
        """Return gated metrics whose verdict is unknown."""
        return tuple(change for change in self.changes if change.gated and change.verdict == "unsure")

    @property
    def sound(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.gated and change.verdict in {"same", "better"})


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    path: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class WorkIdentity:
    """Names of the work: by them one run is compared with another.

    `example`, `preset`: empty for a command and a task. `image`: empty without one.
    """

    title: str = ""
    example: str = ""
    preset: str = ""
    image: str = ""


@dataclass(frozen=True, kw_only=True)
class MachineResult:
    """The requests for machines, the machines, and the end of the job on each of them.

    `cluster`: the name of the lease and of its cluster.
    """

    cluster: str
    attempts: tuple[Attempt, ...] = ()
    launch: Launch | None = None
    nodes: tuple[NodeEnd, ...] = ()

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
