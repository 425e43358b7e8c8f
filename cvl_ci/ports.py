"""What we need of the world, as Protocols in plain names and labels: no SDK's type crosses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.request.plan import Needs, Offer, Place, RunPlan, Spot, StagedFile
from cvl_ci.result.outcome import Asked, Attempt, FetchedFile, Launch, NodeEnd, Outcome, Phase
from cvl_ci.result.report import Link


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never set back."""

    def sleep(self, seconds: float) -> None: ...


# ---- the checkout we stand in -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of the checkout: posix path relative to its root, size in bytes.

    `source`: absolute, where its content is: a link's target, which is inside the root as well.
    """

    path: str
    bytes: int
    source: str


class Checkout(Protocol):
    """The repository (or plain folder) that holds the examples. Tracked files only, where git knows them."""

    @property
    def root(self) -> Path: ...

    @property
    def head(self) -> str:
        """The commit that is checked out, in full; empty: none that git knows."""

    def examples(self) -> Sequence[str]:
        """Every directory with an example.yaml, posix, relative to the root, sorted."""

    def files(self, *prefixes: str) -> Sequence[Entry]:
        """All files under these directories (or the files themselves) that belong to the checkout."""

    def left_behind(self, *prefixes: str) -> Mapping[str, str]:
        """Path → why: what is there and does not go along (a link out of the root, a submodule, not tracked, ...)."""

    def locate(self, typed: str) -> str | None:
        """A path as a person types it, absolute or from where they stand: relative to the root; None: outside."""

    def read(self, path: str, *, limit: int) -> bytes:
        """At most `limit` bytes of one file. Raises OSError."""


class Prices(Protocol):
    """What machines cost, from a catalogue of a stated date: no network."""

    @property
    def date(self) -> str: ...

    def offers(self, needs: Needs, *, places: Sequence[Place], spot: Spot) -> Sequence[Offer]:
        """Machines that would do: in the order of `places`, within each (or without any) cheapest first."""

    def accelerators(self) -> Sequence[str]: ...

    def clouds(self) -> Sequence[str]: ...

    def regions(self, cloud: str) -> Sequence[str]: ...


# ---- the cloud ----------------------------------------------------------------------------------------------


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
class Progress:
    """SkyPilot's own word on how far it is: one short line."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line the job printed, without its end of line. Hostile: it may hold anything."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Began:
    phase: Phase


@dataclass(frozen=True, kw_only=True)
class Attempting:
    """Said before the provider is asked for a machine: from here on money may flow."""

    attempt: Attempt


@dataclass(frozen=True, kw_only=True)
class AttemptFailed:
    attempt: Attempt


Event = Progress | Line | Began | Attempting | AttemptFailed
Watch = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """How the job ended by the machine's own word. `lost`: the machine stopped answering, and why we think so."""

    nodes: tuple[NodeEnd, ...] = ()
    lost: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fetched:
    files: tuple[FetchedFile, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None


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

    def fetch(self, *, into: Path, globs: Sequence[str]) -> Fetched:
        """Bring back what the job changed since its start, from every node."""

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


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Something a provider bills or keeps. `created_at`, `gone_at`: seconds since the epoch, where it says so."""

    provider: str
    region: str
    kind: str
    id: str
    state: str
    labels: Mapping[str, str]
    instance_type: str = ""
    created_at: float | None = None
    ending: bool = False  # the provider has accepted its end and bills it no more (AWS: shutting-down, deleting)


@dataclass(frozen=True, kw_only=True)
class Found:
    resources: tuple[Resource, ...] = ()
    asked: tuple[Asked, ...] = ()
    unproved: tuple[str, ...] = ()
    patience_seconds: float = 0.0  # how long these providers may take until what they have begun to end is gone


class Inventory(Protocol):
    """What the *provider* says exists; no state of SkyPilot is asked."""

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        """All that carries the lease's label or recomputable name there; lease None: all that is ours."""

    def remove(self, resources: Sequence[Resource]) -> None:
        """Ask the provider to end them. Absent is success; raises EngineError when it refuses."""

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One opened cloud: its engine, its inventory, and whether anybody is billed."""

    engine: Engine
    inventory: Inventory
    billed: bool = True
    named: str | None = None
    """The name a person knows it by, where SkyPilot uses another (`sandbox` is driven as `aws`)."""
    through: str = ""
    """Who is asked in the clouds' place, for machines and for what is left of them: an API server."""


class Clouds(Protocol):
    def open(self, places: Sequence[Place], *, user_id: str, watch: Watch) -> AbstractContextManager[Cloud]:
        """Credentials checked, the sandbox brought up when it is asked for (and down again when this brought it up).

        `user_id`: eight letters and digits that SkyPilot appends to every name on the cloud.
        """


# ---- leases, staging, the person watching -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LeaseRecord:
    """What is written down before anything is created: enough to find and end it from nothing else."""

    name: str
    labels: Mapping[str, str]
    deadline: float
    places: tuple[Place, ...]
    taken_at: float
    released_at: float | None = None
    regions: tuple[str, ...] = ()
    """cloud/region of every attempt so far."""


class Records(Protocol):
    """Lease records that outlive this process: files under HOME."""

    def write(self, record: LeaseRecord) -> None: ...

    def read(self, name: str) -> LeaseRecord | None: ...

    def all(self) -> Iterator[LeaseRecord]: ...

    def fence(self, name: str) -> Path:
        """Where the fence of this lease is: revoked when the file exists."""

    def revoke(self, name: str) -> None: ...


class Staging(Protocol):
    def staged(self, files: Sequence[StagedFile]) -> AbstractContextManager[Path]:
        """A temporary directory holding exactly these files, byte for byte, modes kept; gone afterwards."""


class Workflow(Protocol):
    """The person watching: phases, remote lines between them, one summary. Terminal or GitHub."""

    def began(self, phase: Phase) -> None: ...

    def priced(self, *, hourly_usd: float, billed: bool) -> None:
        """From now on this much is spent per hour, all nodes together."""

    def launched(self, launch: Launch) -> None:
        """The machines are there, and the job is theirs."""

    def progress(self, text: str) -> None: ...

    def remote(self, text: str) -> None: ...

    def notice(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def quoted(self, plan: RunPlan, text: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


# ---- what outlives the run -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """An artifact that the workflow now holds. `bytes`, `sha256`: of the zip, as the service knows it."""

    name: str
    id: int
    url: str
    bytes: int
    sha256: str
    files: int
    left_out: Mapping[str, str]
    """Path → why: hidden, a link out of the root, gone, not readable."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Nothing was uploaded, the files are where they were, and that fails nobody."""

    name: str
    reason: str
    empty: bool = False
    """There was no file."""


class Artifacts(Protocol):
    """Files that a person can fetch from the workflow's page after the machine and the runner are gone."""

    def upload(
        self, name: str, *, root: Path, paths: Sequence[str], retention_days: int | None = None
    ) -> Uploaded | Kept:
        """Files, and all below directories, relative to the root. Raises ArtifactError when it should have worked."""


class Publication(Protocol):
    """Where the end of a run is told: to later steps, on the pull request, on the step's page."""

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """One of the same name that was set before is overwritten."""

    def comment(self, outcome: Outcome, artifacts: Sequence[Link]) -> None:
        """In place of what was said before; does not wait until it is said."""

    def point_to(self, artifacts: Sequence[Link]) -> None:
        """On the page that has the summary already."""
