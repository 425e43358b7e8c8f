"""What will run, where it may, what it may cost: the one exact form that every later room reads. Values, no I/O."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

SANDBOX = "sandbox"
"""The cloud that bills nothing: an emulated AWS on the local Docker Engine."""

PROVISIONING_MINUTES = 15.0
"""Allowed from the first machine's creation until the job begins: boot, SkyPilot's runtime, file sync."""

RELEASE_MINUTES = 5.0
"""Allowed after the job for fetching what it wrote and for taking the machine down."""


HEARTBEAT_MINUTES = 10.0
"""What a lost runner may cost: long enough for a network that is away for some minutes."""


class Secret:
    """A value that no repr, log or f-string shows; `reveal()` is the one way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))


class Spot(enum.Enum):
    """Whether the machine may be taken away: `fallback` tries spot everywhere first, then on-demand."""

    NEVER = "false"
    ALWAYS = "true"
    FALLBACK = "fallback"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a machine may be: `aws`, `aws/us-east-1`, `aws/us-east-1/us-east-1a`. Region and zone None: any."""

    cloud: str
    region: str | None = None
    zone: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.cloud, self.region, self.zone) if part)

    @classmethod
    def parse(cls, text: str) -> Place:
        """Of its own `str`; what a person typed is read in places.py."""
        cloud, region, zone = (*text.split("/"), "", "")[:3]
        return cls(cloud=cloud, region=region or None, zone=zone or None)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one machine must have. `accelerators`: alternatives, name → count; empty for none.

    `in_order`: the first alternative is taken before the next, whatever they cost; otherwise the cheapest is.
    `exact`: which of cpus and memory_gib are no least, as `cpus: 4` in a task.
    """

    accelerators: Mapping[str, int] = field(default_factory=dict)
    cpus: float | None = None
    memory_gib: float | None = None
    disk_gb: int = 100
    instance_type: str | None = None
    in_order: bool = False
    exact: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When it must be over, whatever happens.

    `max_runtime_minutes` covers setup and run on the machine. `max_cost_usd` is for the whole run, every node,
    provisioning included.
    """

    max_runtime_minutes: float = 60.0
    max_cost_usd: float | None = None
    provisioning_minutes: float = PROVISIONING_MINUTES
    """How long the machines may take from being asked for until the job begins; then it is given up."""

    heartbeat_minutes: float = HEARTBEAT_MINUTES
    """The machine ends itself this long after the runner was last heard of; 0: only at its deadline."""

    keep_minutes: float = 0.0
    """How long the machine of a job that failed is kept for a person; 0: not at all."""

    @property
    def longest_minutes(self) -> float:
        """From the first machine's creation to its end, with no budget: provisioning, job, fetch and release."""
        return self.provisioning_minutes + self.max_runtime_minutes + RELEASE_MINUTES

    def deadline_minutes(self, *, hourly_usd: float) -> float:
        """From the first machine's creation to its end; `hourly_usd` is for all nodes together."""
        return min(self.longest_minutes, self.paid_minutes(hourly_usd=hourly_usd))

    def paid_minutes(self, *, hourly_usd: float) -> float:
        """How long max_cost pays for; for ever without one."""
        if self.max_cost_usd is None or hourly_usd <= 0:
            return math.inf
        return self.max_cost_usd / hourly_usd * 60


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A file's content as git keeps it, by its id, in the repository at `root`."""

    root: str
    id: str
    executable: bool = False


@dataclass(frozen=True, kw_only=True)
class CommitCopy:
    """A repository of one commit without its file contents, for the machine (local/git/commit_copy.py).

    `path`: the folder among the staged files that gets it. `root`: the repository here. `commit`: its full name.
    `folder`: the folder of the repository that is staged there, relative to `root`; `.` for all of it.
    """

    path: str
    root: str
    commit: str
    folder: str = "."


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """One file that goes to the machine: `path` relative and posix, `source` absolute on this machine, or a blob."""

    path: str
    source: str | Blob
    bytes: int


BASE_FOLDER = ".cvl-ci-base"
"""Where the other commit's files lie among those that are staged."""

TURNS = 5
"""Of each side, when nobody says how many: fewer cannot tell a slower commit from noise."""

FEWEST_TURNS = 4
"""Of each side: so many can tell of a metric that is the same in every digit each time, and fewer of none."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """The same work as another commit has it, to run beside this one. Its files are staged below BASE_FOLDER.

    `ref`: as it was typed. `env`: what of its environment is not the same.
    """

    ref: str
    commit: str
    directory: str
    setup_commands: tuple[str, ...]
    run_commands: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """One run, exactly. Commands are shell lines, run in `directory` (relative to the staged root) on every node."""

    title: str
    example: str | None = None
    preset: str | None = None
    example_path: str | None = None
    """The example.yaml's path relative to the repository root, for annotations."""
    directory: str = "."
    setup_commands: tuple[str, ...] = ()
    run_commands: tuple[str, ...] = ()
    fail_fast: bool = False
    """Whether a command ends at its first line that fails, as GitHub's own `run:` does (`bash -eo pipefail`)."""
    files: tuple[StagedFile, ...] = ()
    commits: tuple[CommitCopy, ...] = ()
    """Repositories that go along, so that git on the machine knows the commit."""
    not_sent: str = ""
    """Which files of the folder stay here, why, and how to change it. One line for a person; empty: none."""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    image: str | None = None
    """None: docker-on-host, the example's scripts use the machine's Docker. Else native: everything in this image."""
    needs: Needs = field(default_factory=Needs)
    num_nodes: int = 1
    places: tuple[Place, ...] = ()
    """In the order to try; empty: any cloud that is set up and not in `avoid`, cheapest first."""
    avoid: frozenset[str] = frozenset()
    """Clouds that cannot run it: matters where no place is given."""
    spot: Spot = Spot.NEVER
    limits: Limits = field(default_factory=Limits)
    repeat: int = 1
    """How many times it runs on its machine, each time in a fresh copy; of two sides, each of them."""
    against: Against | None = None
    rules: bytes = b""
    """The repository's own word on its metrics, by which the two are compared."""
    fail_on_regression: bool = False
    public_key: str | None = None
    """Of a person who may log in to a machine that is kept."""
    outputs: tuple[str, ...] = ()
    """Globs relative to `directory` or to the outputs folder; empty: all that changed since the start."""
    missing: tuple[str, ...] = ()
    """Scripts that the commands call and nobody has seen: enough to plan with, not enough to spend money on."""
    task_extra: Mapping[str, object] = field(default_factory=dict)
    """Keys of a user's own SkyPilot task YAML that we pass on untouched (file_mounts, config, ...)."""
    warnings: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[str, ...]:
        return (*self.setup_commands, *self.run_commands)

    @property
    def sampled(self) -> bool:
        return self.repeat > 1 or self.against is not None

    @property
    def on_sandbox(self) -> bool:
        return any(place.cloud == SANDBOX for place in self.places)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One machine that would do, and its price. `hourly_usd` is for one node."""

    cloud: str
    region: str
    instance_type: str
    accelerators: Mapping[str, int]
    spot: bool
    hourly_usd: float
    vcpus: float = 0.0
    memory_gib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The offers, cheapest first within the order of places; `hourly_usd` and `max_usd` are for all nodes."""

    offers: tuple[Offer, ...]
    hourly_usd: float | None
    """Of the first offer × nodes; None when the catalogue has no price for what was asked."""
    max_usd: float | None
    deadline_minutes: float
    catalogue_date: str
    warnings: tuple[str, ...] = ()
