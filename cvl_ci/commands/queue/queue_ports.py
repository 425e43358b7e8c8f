"""The ports of a queue: the runs of its jobs, its record on disk, and the listener to its states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.commands.queue.machines import MachineJobs, QueuedTurn
from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.model.limits import Limits
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.queue import JobRecord
from cvl_ci.model.release import Release

TurnEnded = Callable[[QueuedTurn, Outcome], None]


@dataclass(frozen=True, kw_only=True)
class EndedLease:
    """A lease of an earlier queue after its end, with the proof.

    `usd`: the cost of its machines; None: unknown. `is_bound`: they cost at most so much.
    """

    release: Release
    usd: float | None = None
    is_bound: bool = False


class JobRuns(Protocol):
    """The runs of jobs, each under a lease of its own, or in turn on a machine under the lease of its first job."""

    def lease(self, job: str, attempt: int) -> str:
        """Return the name of the lease of this attempt. A later process can compute it again."""

    def folder(self, job: str, attempt: int) -> Path:
        """Return the folder for the files of this attempt, which no other attempt writes."""

    def run(self, job: str, attempt: int, plan: RunPlan) -> Outcome:
        """Run a job's plan in this thread. Raises CvlError."""

    def serve(self, jobs: MachineJobs, limits: Limits, *, on_end: TurnEnded) -> Sequence[tuple[QueuedTurn, Outcome]]:
        """Run the jobs of one machine in this thread, until no further one comes or the machine takes none.

        `on_end` gets the end of a job whose machine goes on. Return the complete outcomes. Raises CvlError.
        """

    def stop(self) -> None:
        """Stop all runs, each with the proof that its machine is gone. The runs end by themselves."""

    def end(self, leases: list[str]) -> Mapping[str, EndedLease]:
        """End leases of an earlier queue with proof. Raises CvlError."""


@dataclass(frozen=True, kw_only=True)
class QueuePorts:
    """Ports that a queue needs. `changed` hears of each new state, with the reason; `tell` gets notes."""

    runs: JobRuns
    record: QueueRecord
    changed: Callable[[str, JobRecord], None]
    tell: Callable[[str], None] = lambda _: None
