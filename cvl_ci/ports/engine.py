"""The port that launches, streams, fetches and takes down. Only the name of a cluster crosses it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.offer import Offer
from cvl_ci.model.outcome import FetchedFile, Launch, NodeEnd
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
    spent_usd: float = 0.0
    """The cost of this run's earlier machines. max_cost pays for the rest only."""


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """The end of the job, as the machine reported it. `lost`: why we think that the machine has stopped answering."""

    nodes: tuple[NodeEnd, ...] = ()
    lost: str | None = None
    warnings: tuple[str, ...] = ()
    """Facts that a person must know besides the end, such as a missing part of the log."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    files: tuple[FetchedFile, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None
    """The files that did not come, with the reason."""
    warnings: tuple[str, ...] = ()


class UnpackStopped(KeyboardInterrupt):
    """A person stopped the unpacking. `fetched`: the files that are there."""

    def __init__(self, fetched: Fetched) -> None:
        super().__init__()
        self.fetched = fetched


class Engine(Protocol):
    """Launch, stream, fetch, down. One engine serves one run; `stop` is allowed in any state, several times."""

    def render(self, plan: RunPlan) -> str:
        """Return a plan's SkyPilot task as YAML. No network, no SDK."""

    def warm(self) -> None:
        """Start to load the parts that a launch will need, parallel to other work."""

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        """Launch machines with the job submitted. Raises CapacityError, CredentialsError, EngineError."""

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        """Stream until the job ends on all nodes. At `until`, in seconds since the epoch, cancel it."""

    def fetch(self, *, globs: Sequence[str], within: float = math.inf) -> None:
        """Copy the files that the job changed to this computer, from all nodes, still packed.

        `within`: the most seconds.
        """

    def unpack(self, *, into: Path, within: float = math.inf) -> Fetched:
        """Unpack the copied files. The machines may have ended by then: a hostile archive takes its time.

        `within`: the most seconds. Raises UnpackStopped when a person's signal stops it.
        """

    def keep(self, cluster: str, *, until: float, public_key: str | None) -> Sequence[str]:
        """Return the SSH commands for its machines, which `public_key` opens now. They end soon after `until`."""

    def stop(self) -> bool:
        """Stop everything of this engine that could still launch.

        True: this interrupted a launch, which may have sent a request to a provider without a report of it.
        """

    def down(self, cluster: str) -> None:
        """Run SkyPilot's own down and clear its records. An absent cluster is a success."""

    def close(self) -> None:
        """Close the engine's resources on this computer. That says nothing about machines on a cloud."""
