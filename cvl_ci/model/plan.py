"""Hold the exact plan of a run: what it runs, where it may run, what it may cost. Values, no I/O."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from cvl_ci.model.outcome import WorkIdentity

SANDBOX = "sandbox"
"""The cloud that bills nothing: an emulated AWS on the local Docker Engine."""

PROVISIONING_MINUTES = 15.0
"""Allowed from the first machine's creation until the job begins: boot, SkyPilot's runtime, file sync."""

RELEASE_MINUTES = 5.0
"""The minutes after the job for fetching its files and for taking the machine down."""


HEARTBEAT_MINUTES = 10.0
"""The most that a lost runner may cost, in minutes: long enough for a network that is away for a few minutes."""


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
    """Whether the provider may take the machine away: `fallback` tries spot everywhere first, then on-demand."""

    NEVER = "false"
    ALWAYS = "true"
    FALLBACK = "fallback"


@dataclass(frozen=True, kw_only=True)
class Location:
    """Possible place of a machine: `aws`, `aws/us-east-1`, `aws/us-east-1/us-east-1a`. Region and zone None: any."""

    cloud: str
    region: str | None = None
    zone: str | None = None

    def __str__(self) -> str:
        region = self.region or ("*" if self.zone else None)
        return "/".join(part for part in (self.cloud, region, self.zone) if part)

    @classmethod
    def parse(cls, text: str) -> Location:
        """Parse the output of `str`. inputs/locations.py reads a person's words."""
        cloud, region, zone = (*text.split("/"), "", "")[:3]
        return cls(cloud=cloud, region=region if region != "*" and region else None, zone=zone or None)


@dataclass(frozen=True, kw_only=True)
class ResourceRequest:
    """Requirements of one machine. `accelerators`: alternatives, name → count; empty for none.

    `in_order`: the first alternative comes before the next at any price; otherwise the cheapest comes first. `exact`:
    which of cpus and memory_gib are exact values and not minimums, such as `cpus: 4` in a task. A count below 1 is a
    part of a GPU.
    """

    accelerators: Mapping[str, float] = field(default_factory=dict)
    cpus: float | None = None
    memory_gib: float | None = None
    disk_gb: int = 100
    instance_type: str | None = None
    in_order: bool = False
    exact: frozenset[str] = frozenset()
    memory_per_vcpu: float | None = None
    """The least GiB for each vCPU, as `memory: 4x` in a task."""
    alternatives: tuple[Alternative, ...] = ()
    """The machines of a task's `any_of` or `ordered`. `accelerators` then lists all their GPUs."""

    @property
    def largest_disk_gb(self) -> int:
        """Return the largest disk that a machine of it may have."""
        return max([self.disk_gb, *(one.needs.disk_gb for one in self.alternatives)])

    @property
    def has_size(self) -> bool:
        """Return whether anything but the disk is required."""
        if self.alternatives:
            return all(one.needs.has_size for one in self.alternatives)
        return bool(self.accelerators or self.cpus or self.instance_type)


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One of the machines that a task would take, with its own place (None: any) and its own use of spot.

    `extra`: its keys that SkyPilot reads unchanged.
    """

    needs: ResourceRequest
    place: Location | None = None
    spot: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits after which a run ends in every case.

    `max_runtime_minutes` covers setup and run on the machine. `max_cost_usd` is for the whole run, every node,
    provisioning included.
    """

    max_runtime_minutes: float = 60.0
    max_cost_usd: float | None = None
    provisioning_minutes: float = PROVISIONING_MINUTES
    """The minutes from the request for machines to the beginning of the job; then the run gives up."""

    heartbeat_minutes: float = HEARTBEAT_MINUTES
    """The machine ends itself this many minutes after the last heartbeat; 0: only at its deadline."""

    keep_minutes: float = 0.0
    """The minutes for which the machine of a failed job is kept for a person; 0: not at all."""

    keeps_after_success: bool = False
    """Whether the machine of a job that succeeded is kept too."""

    @property
    def longest_minutes(self) -> float:
        """Return the minutes from the first machine's creation to its end, with no budget.

        They cover provisioning, job, fetch and release.
        """
        return self.provisioning_minutes + self.max_runtime_minutes + RELEASE_MINUTES

    def deadline_minutes(self, *, hourly_usd: float) -> float:
        """Return the minutes from the first machine's creation to its end. `hourly_usd` is for all nodes together."""
        return min(self.longest_minutes, self.paid_minutes(hourly_usd=hourly_usd))

    def paid_minutes(self, *, hourly_usd: float) -> float:
        """Return the minutes that max_cost pays for; infinite without max_cost."""
        if self.max_cost_usd is None or hourly_usd <= 0:
            return math.inf
        return self.max_cost_usd / hourly_usd * 60


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Content of a file in git's store, by its id, in the repository at `root`."""

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
    """One file for the machine: `path` relative and posix, `source` absolute on this computer, or a blob."""

    path: str
    source: str | Blob
    bytes: int


BASE_FOLDER = ".cvl-ci-base"
"""The folder of the other commit's files among the staged files."""

TURNS = 5
"""The default number of turns of each side: fewer cannot separate a slower commit from noise."""

FEWEST_TURNS = 4
"""The least number of turns of each side. It is enough for a metric that is the same in every digit each time."""


@dataclass(frozen=True, kw_only=True)
class PairedBase:
    """The same work of another commit, to run next to this one. Its files are staged below BASE_FOLDER.

    `ref`: as the user typed it. `env`: the part of its environment that differs.
    """

    ref: str
    commit: str
    directory: str
    setup_commands: tuple[str, ...]
    run_commands: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WorkPlan:
    """The work: an example's preset, a command or a task.

    Commands are shell lines that run in `directory`, a folder below the staged files' root, on every node.
    """

    example: str | None = None
    preset: str | None = None
    example_path: str | None = None
    """The example.yaml's path relative to the repository root, for annotations."""
    directory: str = "."
    setup_commands: tuple[str, ...] = ()
    run_commands: tuple[str, ...] = ()
    fail_fast: bool = False
    """Whether a command ends at its first line that fails, as GitHub's own `run:` does (`bash -eo pipefail`)."""
    image: str | None = None
    """None: docker-on-host, the example's scripts use the machine's Docker. Else native: everything in this image."""
    needs_docker: bool = False
    """Whether the commands call Docker, unless an image holds everything."""
    missing_scripts: tuple[str, ...] = ()
    """Scripts that the commands call and that are not in the checkout: enough for a plan, not enough for a run."""
    task_extra: Mapping[str, object] = field(default_factory=dict)
    """Keys of a user's own SkyPilot task YAML that are passed on unchanged (file_mounts, config, ...)."""

    @property
    def commands(self) -> tuple[str, ...]:
        return (*self.setup_commands, *self.run_commands)


@dataclass(frozen=True, kw_only=True)
class FilePlan:
    """The files for the machine, and the files to fetch from it."""

    staged: tuple[StagedFile, ...] = ()
    commits: tuple[CommitCopy, ...] = ()
    """Repositories that go along, so that git on the machine knows the commit."""
    not_sent: str = ""
    """Files of the folder that stay here, why, and how to change it. One line for a person; empty: none."""
    outputs: tuple[str, ...] = ()
    """Globs relative to the work's directory or to the outputs folder; empty: all files that changed."""


@dataclass(frozen=True, kw_only=True)
class VariablePlan:
    """The environment variables of the job."""

    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MachinePlan:
    """The machines, and the locations where they may stand."""

    needs: ResourceRequest = field(default_factory=ResourceRequest)
    num_nodes: int = 1
    locations: tuple[Location, ...] = ()
    """In the order to try. Empty: any cloud with credentials and not in `unfit_clouds`, the cheapest first."""
    unfit_clouds: frozenset[str] = frozenset()
    """Clouds that cannot run the work. They matter where `locations` is empty."""
    spot: Spot = Spot.NEVER
    public_key: str | None = None
    """The public key of a person who may log in to a kept machine."""

    @property
    def is_on_sandbox(self) -> bool:
        return any(location.cloud == SANDBOX for location in self.locations)


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """The repetitions of the work, and the other commit that runs next to it."""

    repeat: int = 1
    """The number of runs on its machine, each in a fresh copy; of two sides, each of them."""
    base: PairedBase | None = None
    rules: bytes = b""
    """The repository's own rules for its metrics, for the comparison of the two."""
    fail_on_regression: bool = False

    @property
    def has_samples(self) -> bool:
        """Return whether the work runs more than one time."""
        return self.repeat > 1 or self.base is not None


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """One run, exactly. Its groups follow the groups of the inputs (inputs/run_inputs.py)."""

    title: str
    work: WorkPlan = field(default_factory=WorkPlan)
    files: FilePlan = field(default_factory=FilePlan)
    variables: VariablePlan = field(default_factory=VariablePlan)
    machines: MachinePlan = field(default_factory=MachinePlan)
    limits: Limits = field(default_factory=Limits)
    trials: TrialPlan = field(default_factory=TrialPlan)
    warnings: tuple[str, ...] = ()

    @property
    def identity(self) -> WorkIdentity:
        """Return the names by which another run is compared with this one."""
        return WorkIdentity(
            title=self.title,
            example=self.work.example or "",
            preset=self.work.preset or "",
            image=self.work.image or "",
        )
