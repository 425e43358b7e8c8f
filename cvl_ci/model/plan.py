"""Hold the exact plan of a run: what it runs, where it may run, what it may cost. Values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cvl_ci.model.checkpoint_plan import CheckpointPlan
from cvl_ci.model.detached import DetachPlan
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.model_plan import ModelPlan
from cvl_ci.model.mount import Mount
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.model.reuse import ReusePlan
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import ServicePlan
from cvl_ci.model.staged_files import CommitCopy, StagedFile
from cvl_ci.model.work_identity import WorkIdentity

BASE_FOLDER = ".cvl-ci-base"
"""The folder of the other commit's files among the staged files."""

TRIALS = 5
"""The default number of trials of each side: fewer cannot separate a slower commit from noise."""

FEWEST_TRIALS = 4
"""The least number of trials of each side. It is enough for a metric that is the same in every digit each time."""


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
    mounts: tuple[Mount, ...] = ()
    """Storage at paths of the machine. The files of local folders are among `staged`."""


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
    has_region_alone: bool = False
    """Whether the locations are of each cloud that has a requested region. Those with credentials then count."""
    unfit_clouds: frozenset[str] = frozenset()
    """Clouds that cannot run the work. They matter where `locations` is empty."""
    spot: Spot = Spot.NEVER
    recoveries: int = 0
    """How often new machines may replace those that the provider took away."""
    public_key: str | None = None
    """The public key of a person who may log in to a kept machine."""
    reuse: ReusePlan | None = None
    """The machine that waits between runs; None: the run has one of its own."""
    is_cleaned: bool = False
    """Whether the machine is cleaned after each job of a queue."""

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
    models: ModelPlan = field(default_factory=ModelPlan)
    checkpoints: CheckpointPlan = field(default_factory=CheckpointPlan)
    detach: DetachPlan = field(default_factory=DetachPlan)
    service: ServicePlan | None = None
    """The server that the work starts; None: the work is a job, which ends."""
    warnings: tuple[str, ...] = ()

    @property
    def has_replicas(self) -> bool:
        """Return whether an API server starts it as a service with several replicas."""
        replicas = self.service.replicas if self.service is not None else None
        return replicas is not None and replicas.is_started

    @property
    def has_controller(self) -> bool:
        """Return whether a controller of an API server launches its machines, and chooses them without a word."""
        return self.detach.is_managed or self.has_replicas

    @property
    def identity(self) -> WorkIdentity:
        """Return the names by which another run is compared with this one."""
        return WorkIdentity(
            title=self.title,
            example=self.work.example or "",
            preset=self.work.preset or "",
            image=self.work.image or "",
        )
