"""The port that runs jobs on live machines, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.checkpoint_plan import StoredCheckpoint
from cvl_ci.model.fitness import MachineState
from cvl_ci.model.loss import Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import FetchedFile
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports.events import Watch


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A further job for live machines. `staged`: the directory whose content is added to its working directory."""

    plan: RunPlan
    staged: Path


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """The end of the job, as the machine reported it. `lost`: the loss of its machines instead."""

    nodes: tuple[NodeEnd, ...] = ()
    lost: Lost | None = None
    unfit: str = ""
    """Why a machine was broken before the job began on it; empty if the job began."""
    failed_mount: str = ""
    """Why a mount failed, before the job or after its success; empty if none did."""
    never_began: str = ""
    """Why neither setup nor the job began on any node, in one sentence; empty in every other case."""
    warnings: tuple[str, ...] = ()
    """Facts that a person must know besides the end, such as a missing part of the log."""

    @property
    def is_infrastructure(self) -> bool:
        """Return whether the job is not the cause of this end. The exit codes of its nodes do not count."""
        return bool(self.lost or self.unfit or self.failed_mount or self.never_began)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The outputs here, and the machines' states after the job by rank (empty: not probed again)."""

    states_after: tuple[MachineState, ...] = ()
    files: tuple[FetchedFile, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None
    """The files that did not come, with the reason."""
    warnings: tuple[str, ...] = ()
    is_copy: bool = False
    """Whether the files come from a checkpoint that was copied during the job: its own outputs could not be fetched."""
    is_whole_copy: bool = False
    """Whether they are the whole of that checkpoint."""

    @property
    def traffic_bytes(self) -> int:
        """Return the bytes of outputs that came from the machines. CheckpointBytes has counted those of a copy."""
        return 0 if self.is_copy else sum(file.bytes for file in self.files)


class UnpackStopped(KeyboardInterrupt):
    """A person stopped the unpacking. `fetched`: the files that are there."""

    def __init__(self, fetched: Fetched) -> None:
        super().__init__()
        self.fetched = fetched


class Jobs(Protocol):
    """The jobs of one lease's machines. Each method but `submit` is about the latest job.

    The first job comes with the launch. `Machines.stop` ends a request under way.
    """

    def submit(self, request: JobRequest, *, watch: Watch) -> None:
        """Start a further job on the live machines, in the working directory of the job before, with its own limit.

        The staged files are added to the directory. Processes and containers of the job before have ended. Its setup
        runs as a part of it. The job before must be over, and its files fetched. Raises EngineError, and RequestRefused
        for a job that the machines cannot run.
        """

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        """Stream until the job ends on all nodes. At `until`, in seconds since the epoch, cancel it."""

    def follow_until(self, *, watch: Watch, until: float, enough: Callable[[], bool]) -> JobEnd | None:
        """Stream as `follow` does, until `enough()` is true. None: it is, and the job goes on.

        `enough` is called between two lines, and several times a second while there is no line.
        """

    def cancel(self) -> None:
        """End the job. Its machines go on. Raises EngineError."""

    def fetch(self, *, globs: Sequence[str], within: float = math.inf) -> None:
        """Copy the files that the job changed to this computer, from all nodes, still packed.

        `within`: the most seconds.
        """

    def unpack(self, *, into: Path, within: float = math.inf) -> Fetched:
        """Unpack the copied files. The machines may have ended by then: a hostile archive takes its time.

        `within`: the most seconds. Raises UnpackStopped when a person's signal stops it.
        """

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """Return the newest checkpoint that this computer has of the job, from any of its machines."""
