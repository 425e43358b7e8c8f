"""What happened: a run is done when it has an Outcome, and an Outcome has a proof of release. Values only."""

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
    """The road of a run, in order."""

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
"""FAILED has the job's own code, NEVER_STARTED that of the error that prevented it."""

EXIT_NOT_PROVED_GONE = 79


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try to get machines. `error` None: this one is where it ran."""

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    spot: bool
    hourly_usd: float
    error: str | None = None

    @property
    def where(self) -> str:
        return "/".join(part for part in (self.cloud, self.zone or self.region) if part)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Machines that are there. `hourly_usd` is for one node; `created_at` is seconds since the epoch."""

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
    """What a job took of the GPUs, as looked at every few seconds. MiB and percent, of the one that had most to do;
    `utilization`: the mean over all looks and GPUs. None: the driver does not tell."""

    gpus: int
    memory_mib: int
    memory_total_mib: int
    utilization: float | None = None
    utilization_peak: int | None = None
    driver: str = ""


MOST_LEFT = 20
"""How many names of processes a node may give."""


@dataclass(frozen=True, kw_only=True)
class NodeEnd:
    """How the job ended on one node: its own exit code, None when the node did not live to write it."""

    rank: int
    exit_code: int | None
    timed_out: bool = False
    phase: str = "running"
    ended_at: float | None = None
    """By the machine's own clock: only good for telling which of two nodes failed first."""
    gpu: GpuUse | None = None
    turns: tuple[tuple[str, float], ...] = ()
    """Of a job that ran more than once: each turn's name and how many seconds it ran, in the order of the turns."""
    base_exit_code: int | None = None
    """Of the other commit's work, where it failed beside this one."""
    left_behind: tuple[str, ...] = ()
    """The names of processes that ran on when their command had ended, and that the machine ended."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question put to a provider, and how many of ours it still showed."""

    provider: str
    region: str
    kinds: tuple[str, ...]
    left: tuple[str, ...] = ()
    error: str | None = None
    skipped: tuple[str, ...] = ()
    """What was not looked at, and why: nothing that a run makes, so the proof stands without it."""

    @property
    def clean(self) -> bool:
        return not self.left and self.error is None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Machines of a job that failed, for a person to look into: theirs `until` then (epoch seconds), when they end.

    `ways_in`: an ssh command for each node, head first.
    """

    until: float
    ways_in: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Release:
    """Proof, or its absence. `gone`: every provider asked shows nothing of this lease. `at`: epoch seconds."""

    gone: bool
    at: float
    asked: tuple[Asked, ...] = ()
    unproved: tuple[str, ...] = ()
    """Clouds whose provider cannot be asked: never counted as clean."""
    needed: bool = True
    """False: no machine was ever asked for."""
    kept: Kept | None = None
    """Not gone, and that is what was asked for."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Measured time × catalogue price. Dollars; `billed` False on the sandbox, where the figure is only an example."""

    hourly_usd: float
    """All nodes together, of the machine it ran on."""
    seconds: float
    """Longest-lived node, first creation to proved gone; of machines that are kept, to when they end at the latest."""
    usd: float
    estimated_usd: float | None
    """The most the quote said it can cost."""
    billed: bool = True
    kept_usd: float | None = None
    """What of it is still to come at most, while the machines are kept."""
    on_demand_hourly_usd: float | None = None
    """The same machines on demand, where they were spot and the catalogue knows: what spot saved is measured by it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One metric of two versions that ran beside each other. `head`, `base`: medians, or flags; None: no number there.
    `change`: a share of the base. `gated`: it is known which way is better."""

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
class Beside:
    """What came of running another commit's work in turn with this one's. `order`: of the turns. `reason`: why nothing
    can be said, if so."""

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
        """For sure, and whether for the better is not known."""
        return tuple(change for change in self.changes if change.verdict == "changed")

    @property
    def unsure(self) -> tuple[Change, ...]:
        """Of what is gated: it cannot be told whether these are worse."""
        return tuple(change for change in self.changes if change.gated and change.verdict == "unsure")

    @property
    def sound(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.gated and change.verdict in {"same", "better"})


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    path: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run, over. `phases` in seconds; `exit_code` is what the program exits with."""

    ending: Ending
    reason: str
    exit_code: int
    title: str
    cluster: str
    launch: Launch | None = None
    attempts: tuple[Attempt, ...] = ()
    nodes: tuple[NodeEnd, ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    duration_seconds: float = 0.0
    cost: Cost | None = None
    files: tuple[FetchedFile, ...] = ()
    outputs_directory: str = ""
    refused: tuple[str, ...] = ()
    """What the machine offered and we did not take: hostile names, links out of the root, with the reason."""
    metrics: Mapping[str, object] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Of the metrics that were measured more than once."""
    beside: Beside | None = None
    example: str = ""
    preset: str = ""
    image: str = ""
    """What ran, by which one run is compared with another; empty for a command, and without an image."""
    release: Release | None = None
    warnings: tuple[str, ...] = ()
    advice: str = ""
    """What a person would do next."""

    @property
    def gpu(self) -> GpuUse | None:
        """Of all nodes together."""
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
