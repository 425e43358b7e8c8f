"""The port that launches machines and takes them down. Only the name of a cluster crosses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.offer import Offer
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports.events import Watch


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """Everything that a launch needs. `staged`: the directory whose content becomes the machine's working directory."""

    plan: RunPlan
    cluster: str
    labels: Mapping[str, str]
    staged: Path
    deadline: float
    """Seconds since the epoch. The machine ends itself at about this time, even if all other processes have died."""
    fence: Path
    """While this file exists, nothing may be launched: checked before and after each attempt."""
    likely: Offer | None = None
    """The first offer of the quote."""
    offers: tuple[Offer, ...] = ()
    """The offers of the quote. A place that costs more than each of them gets no request."""
    spent_usd: float = 0.0
    """The cost of this run's earlier machines. max_cost pays for the rest only."""
    avoid: tuple[Attempt, ...] = ()
    """Refused requests of earlier launches. None of them is repeated."""
    is_update: bool = False
    """Whether it is the next version of a service with several replicas, which runs."""


class Machines(Protocol):
    """The machines of one lease. Its launches follow each other; `stop` is allowed in any state, several times."""

    def warm(self) -> None:
        """Start to load the parts that a launch will need, parallel to other work."""

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        """Launch machines with the job submitted. Raises CapacityError, CredentialsError, EngineError.

        The machines of an earlier launch must be gone.
        """

    def enter(self, request: LaunchRequest) -> Launch:
        """Take over live machines that an earlier process launched under this name, with no job of theirs.

        Their own end is at `request.deadline`. Raises EngineError if SkyPilot here does not know them, or if one does
        not answer.
        """

    def clean(self, cluster: str) -> None:
        """Remove everything of the jobs before from the machines: processes, GPU memory, containers, files, secrets.

        Raises EngineError if a part of it stays: then the machines are not fit for another run.
        """

    def keep(self, cluster: str, *, until: float, public_key: str | None, heartbeat: float = 0.0) -> Sequence[str]:
        """Return the SSH commands for its machines, which `public_key` opens now. They end soon after `until`.

        `heartbeat`: the minutes after which they end without a renewal, or 0 for `until`.
        """

    def address(self) -> str:
        """Return the address at which the head of the latest launch is reached. Raises EngineError."""

    def stop(self) -> bool:
        """Stop everything that could still launch, with the job's request under way.

        True: this interrupted a launch, which may have sent a request to a provider without a report of it.
        """

    def down(self, cluster: str) -> None:
        """Run SkyPilot's own down and clear its records. An absent cluster is a success."""

    def close(self) -> None:
        """Close the resources on this computer. That says nothing about machines on a cloud."""


@runtime_checkable
class RecoveredMachines(Protocol):
    """Machines that the controller of an API server replaces after a loss."""

    def recovery_count(self, cluster: str) -> int | None:
        """Return how often the controller recovered the job of a lease; None: it has no count of exactly one job."""


class SharedMachines(Protocol):
    """Machines that several runners enter, with a key pair that follows from the secret of the repository."""

    def adopt(self, request: LaunchRequest, *, region: str) -> None:
        """Make this computer know machines that run under this name. It does not enter them.

        Raises EngineError if the provider does not show all of them, running.
        """

    def forget(self, cluster: str) -> None:
        """Make this computer know nothing of machines that it does not use. Raises EngineError."""

    def change_use(self, cluster: str, *, before: str, after: str) -> bool:
        """Note the use of the machines on the head itself, if it notes the use `before`; empty: in any case.

        Of two runners that change the same use, one alone gets True. Raises EngineError for a machine that does not
        answer.
        """
