"""Hold the end of the job on each machine. Values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cvl_ci.model.fitness import MachineState


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


class MountFault(enum.Enum):
    """What failed at a mount. The values are the machine's words in its report of the end.

    `unmade`: no path. `incomplete`: not all files. `different`: other bytes than in the bucket. `unproved`: the bucket
    did not answer. `unsent`: the job is over, and files that it wrote are not in the bucket.
    """

    UNMADE = "unmade"
    INCOMPLETE = "incomplete"
    DIFFERENT = "different"
    UNPROVED = "unproved"
    UNSENT = "unsent"


@dataclass(frozen=True, kw_only=True)
class FailedMount:
    """A mount that failed on a node, by the digest of its path."""

    fault: MountFault
    digest: str


CHECKPOINTS = "checkpoints"
"""The phase in which a machine brings the last checkpoint back, before the job."""
RESULTS = "results"
"""The phase in which the machine of a detached run tries the place of its results, before the job."""
IDLE = "idle"
"""The phase of a job that a machine ended, because it left the GPUs alone."""
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
    trials: tuple[tuple[str, float], ...] = ()
    """Trials of a job that ran several times: each trial's name and its seconds, in the order of the trials."""
    base_exit_code: int | None = None
    """The exit code of the other commit's work, if it failed next to this one."""
    left_behind: tuple[str, ...] = ()
    """Processes that outlived their command, by name. The machine ended them."""
    failed_mount: FailedMount | None = None
    state: MachineState | None = None
    """The machine before the job; None without an answer."""
