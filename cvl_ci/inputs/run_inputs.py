"""The inputs of a run, in groups: declared once, for the command line, the action and the library.

None: not given, so that the value of an example or a task can stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cvl_ci.inputs import file_mounts, locations, mounts, parsers, variables
from cvl_ci.inputs.checkpoint_inputs import CheckpointInputs
from cvl_ci.inputs.keep_inputs import KeepInputs
from cvl_ci.inputs.machine_inputs import MachineInputs
from cvl_ci.inputs.model_inputs import RunModelInputs
from cvl_ci.inputs.option import RUN_VERBS, option
from cvl_ci.model.location import Location
from cvl_ci.model.mount import Mount
from cvl_ci.model.secret import Secret


@dataclass(frozen=True, kw_only=True)
class WorkInputs:
    """The work to run: an example, a command or a task."""

    example: str | None = option(
        parsers.text,
        help="The example to run: its path, the end of its path, or its name.",
        metavar="EXAMPLE",
        example="examples/perception/vision_language/moondream2",
        is_positional=True,
    )
    preset: str | None = option(
        parsers.text,
        help="The preset of the example to run.",
        metavar="PRESET",
        example="train",
        default="the only preset except `build`",
        is_positional=True,
    )
    args: tuple[str, ...] = option(
        parsers.shell_words,
        value=(),
        help="More arguments for the preset's script; on the command line, everything after `--`.",
        metavar="ARGS",
        example="--epochs 3",
        is_positional=True,
    )
    command: str | None = option(
        parsers.script,
        help="A shell command to run instead of an example.",
        metavar="COMMAND",
        example="python train.py",
    )
    setup: str | None = option(
        parsers.script,
        help="With a command or a task: a shell command that runs before it, once on each machine.",
        metavar="COMMAND",
        example="pip install -r requirements.txt",
    )
    workdir: str | None = option(
        parsers.text,
        help="With a command: the folder whose files go to the machine, and in which it runs.",
        metavar="DIR",
        example="src",
        default="the current folder",
    )
    include: tuple[str, ...] = option(
        parsers.globs,
        value=(),
        help="With a command or a task: files of its folder to send although a rule leaves them out.",
        metavar="GLOB",
        example="models/tiny.env",
        default="none",
        is_repeatable=True,
    )
    exclude: tuple[str, ...] = option(
        parsers.globs,
        value=(),
        help="With a command or a task: files of its folder that stay here. A `.skyignore` in the folder does the "
        "same. `.git` always stays. Virtual environments, caches and untracked credentials stay unless `include` names "
        "them.",
        metavar="GLOB",
        example="data/**",
        default="the lines of the folder's `.skyignore`",
        is_repeatable=True,
    )
    files: tuple[str, ...] | None = option(
        parsers.globs,
        help="With an example: more files of the repository for the machine, as globs from the root. The input "
        "changed_since watches the same files.",
        metavar="GLOB",
        example="src/mylib/**",
        default="`files` of its example.yaml, else the packages of the Python project and the files that scripts name",
        is_repeatable=True,
        verbs=(*RUN_VERBS, "matrix"),
    )
    file_mounts: Mapping[str, object] = option(
        file_mounts.read,
        value={},
        help="With a command or a task: more files, each as a path there and a path here or a bucket.",
        metavar="REMOTE=LOCAL",
        example="/data=s3://bucket/data",
        default="none",
        is_repeatable=True,
    )
    task: str | None = option(
        parsers.text,
        help="A SkyPilot task YAML to run instead of an example. Other inputs override its values.",
        metavar="FILE",
        example="task.yaml",
        other_flags=("--yaml-file",),
    )


@dataclass(frozen=True, kw_only=True)
class LocationInputs:
    """The places where the work may run. After reading, `cloud` holds all three; an empty tuple means any place."""

    cloud: tuple[Location, ...] | None = option(
        locations.read,
        help="cloud[/region[/zone]], or several in the order to try. `sandbox` is a cloud on your own "
        "Docker; `any` is the cheapest cloud with credentials.",
        metavar="CLOUD",
        example="aws/us-east-1,gcp",
        default="any",
        other_flags=("--infra",),
    )
    region: str | None = option(
        parsers.text,
        help="The region, when `cloud` names one cloud.",
        metavar="REGION",
        example="us-east-1",
        default="any",
    )
    runner: str | None = option(
        locations.runner,
        help="Another way to name the cloud: skypilot (any), ec2, gcp, azure or lambda.",
        metavar="RUNNER",
        example="ec2",
    )


@dataclass(frozen=True, kw_only=True)
class LimitInputs:
    """The limits of a run. Times in minutes, cost in US dollars."""

    max_runtime: float | None = option(
        parsers.minutes,
        help="The longest time for setup and run on the machine; then cvl-ci stops the job. A number alone is minutes.",
        metavar="TIME",
        example="1h30m",
        default="60m",
        verbs=(*RUN_VERBS, "matrix"),
    )
    provision_timeout: float | None = option(
        parsers.minutes,
        help="The longest time from the first request for machines until the job begins; then cvl-ci gives up.",
        metavar="TIME",
        example="10m",
        default="15m",
    )
    heartbeat_minutes: int | None = option(
        parsers.whole_number_or_zero,
        help="The machine ends itself this many minutes after its last contact with the runner. 0: only at "
        "its deadline.",
        metavar="N",
        example="5",
        default="10",
    )
    max_cost: float | None = option(
        parsers.dollars,
        help="The most that the whole run may cost, in US dollars. cvl-ci refuses the run, or stops it, "
        "before it costs more.",
        metavar="USD",
        example="2.50",
        default="no limit except max_runtime",
        verbs=(*RUN_VERBS, "matrix"),
    )
    min_gpu_utilization: int | None = option(
        parsers.percent,
        help="End the job when all GPUs of a machine stay below this percentage for the whole time_window. A time "
        "without samples of the driver does not count.",
        metavar="PERCENT",
        example="10",
        default="a job may leave its GPUs alone until max_runtime",
    )
    time_window: float | None = option(
        parsers.idle_seconds,
        help="The time for min_gpu_utilization. A number alone is minutes.",
        metavar="TIME",
        example="30m",
        default="15m",
    )
    on_idle: str | None = option(
        parsers.choice("fail", "neutral"),
        help="The exit code of a job that min_gpu_utilization ended. `fail`: 124. `neutral`: 0, with a warning.",
        metavar="fail|neutral",
        example="neutral",
        default="fail",
    )


@dataclass(frozen=True, kw_only=True)
class VariableInputs:
    """The environment variables of the job."""

    env: Mapping[str, str] = option(
        variables.environment,
        value={},
        help="Environment variables of the job, as KEY=VALUE.",
        metavar="KEY=VALUE",
        example="EPOCHS=3",
        is_repeatable=True,
        other_flags=("--envs",),
    )
    secrets: Mapping[str, Secret] = option(
        variables.secrets({}),
        value={},
        help="As env, but masked everywhere. On the command line, a NAME alone takes its value from your environment.",
        metavar="KEY[=VALUE]",
        example="HF_TOKEN",
        is_repeatable=True,
        other_flags=("--secret",),
    )


@dataclass(frozen=True, kw_only=True)
class TrialInputs:
    """The repetitions of a job, and the comparison with another commit."""

    repeat: int | None = option(
        parsers.trial_count,
        help="Run the job this many times on one machine, each time in a fresh copy. Metrics are medians, "
        "with all samples. In a matrix: this many legs, each on its own machine.",
        metavar="N",
        example="5",
        default="1, and 5 with compare",
        verbs=(*RUN_VERBS, "matrix"),
    )
    compare: str | None = option(
        parsers.text,
        help="A commit or branch. The commit where this checkout left it runs on the same machine, in turn with this "
        "checkout. Every metric gets a verdict.",
        metavar="REF",
        example="origin/main",
        other_flags=("--ab",),
    )
    fail_on_regression: bool | None = option(
        parsers.flag,
        help="With compare, and in a report: a metric that is worse beyond tolerance and noise fails (exit code 1).",
        metavar="true|false",
        example="true",
        default="false: the report only shows it",
        is_value_optional=True,
        verbs=(*RUN_VERBS, "report"),
    )


@dataclass(frozen=True, kw_only=True)
class FileInputs:
    """The files to fetch, and the storage at paths of the machine."""

    outputs: tuple[str, ...] = option(
        parsers.globs,
        value=(),
        help="The files to fetch, as globs with `!` and `{a,b}`. A pattern without a slash matches at any depth.",
        metavar="GLOB",
        example="outputs/**",
        default="all files that the job changed",
        is_repeatable=True,
        other_flags=("--output",),
    )
    mounts: tuple[Mount, ...] = option(
        mounts.read,
        value=(),
        help="Storage at a path of each machine: a bucket or a local folder. Buckets are s3, gs, az, r2 or hf. "
        "`volume://NAME` is a volume of Kubernetes or RunPod. `copy` brings all files before the job and checks those "
        "of S3. `cached` reads on demand and writes back. `stream` has no cache. A local folder goes through a bucket "
        "that ends with the run, or through the bucket of via.",
        metavar="PATH=SOURCE[:MODE][,via=BUCKET]",
        example="/data=s3://bucket/prefix:cached",
        default="none",
        is_repeatable=True,
        other_flags=("--mount",),
    )


RUN_GROUPS = (
    WorkInputs,
    LocationInputs,
    MachineInputs,
    LimitInputs,
    KeepInputs,
    VariableInputs,
    TrialInputs,
    FileInputs,
    CheckpointInputs,
    RunModelInputs,
)
