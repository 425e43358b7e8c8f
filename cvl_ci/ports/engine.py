"""Who launches, streams, fetches and takes down. No word of a cluster crosses this but its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.outcome import FetchedFile, Launch, NodeEnd
from cvl_ci.model.plan import Offer, RunPlan
from cvl_ci.ports.events import Watch


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """All that a launch needs. `staged`: the directory whose content becomes the machine's working directory."""

    plan: RunPlan
    cluster: str
    labels: Mapping[str, str]
    staged: Path
    deadline: float
    """Seconds since the epoch: the machine ends by itself at about this time, whoever else is alive."""
    fence: Path
    """When this file exists, nothing may be launched any more: looked at before and after every attempt."""
    likely: Offer | None = None
    """The first offer of the quote."""


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """How the job ended by the machine's own word. `lost`: the machine stopped answering, and why we think so."""

    nodes: tuple[NodeEnd, ...] = ()
    lost: str | None = None
    warnings: tuple[str, ...] = ()
    """What a person must know beside the end: which part of the log is missing."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    files: tuple[FetchedFile, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None
    """What did not come, and why."""
    warnings: tuple[str, ...] = ()


class UnpackStopped(KeyboardInterrupt):
    """A person stopped the unpacking. `fetched`: the files that are there."""

    def __init__(self, fetched: Fetched) -> None:
        super().__init__()
        self.fetched = fetched


class Engine(Protocol):
    """Launch, stream, fetch, down. One engine serves one run; `stop` may be called from any state, more than once."""

    def render(self, plan: RunPlan) -> str:
        """The SkyPilot task YAML of a plan. No network, no SDK."""

    def warm(self) -> None:
        """Begin loading what a launch will need, beside whatever else is going on."""

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        """Machines, with the job submitted. Raises CapacityError, CredentialsError, EngineError."""

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        """Stream until the job is over on every node, or (`until`, seconds since the epoch) cancel it."""

    def fetch(self, *, globs: Sequence[str], within: float = math.inf) -> None:
        """Bring to this computer what the job changed since its start, from every node, still packed.

        `within`: seconds, at most.
        """

    def unpack(self, *, into: Path, within: float = math.inf) -> Fetched:
        """Take apart what was brought. The machines may be gone by then: a hostile archive takes its time.

        `within`: seconds, at most. Raises UnpackStopped where a person's signal stops it.
        """

    def keep(self, cluster: str, *, until: float, public_key: str | None) -> Sequence[str]:
        """The ssh commands to its machines, which `public_key` opens now; they end by themselves soon after `until`."""

    def stop(self) -> bool:
        """Afterwards nothing of this engine is alive that could still launch.

        True: a launch was cut off in its midst, and may have asked a provider without having been heard saying so.
        """

    def down(self, cluster: str) -> None:
        """SkyPilot's own down, and its records cleared. Absent is success."""

    def close(self) -> None:
        """Let go of what the engine holds on this machine; of machines on a cloud it knows nothing more."""
