"""The one table of inputs: what the command line, the action's inputs and the library's keywords all come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cvl_ci.inputs import accelerators, locations, parsers


@dataclass(frozen=True, kw_only=True)
class Field:
    """One input. `name` is the keyword and the action's input; `flags` the command line's spellings, first is shown."""

    name: str
    read: Callable[[object], object]
    help: str
    metavar: str
    example: str
    default: str = ""
    """What happens when it is not given, for a person to read."""
    repeatable: bool = False
    positional: bool = False
    value_optional: bool = False
    """The flag alone means `true`."""
    other_flags: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        return (self.flag, *self.other_flags)


FIELDS = (
    Field(
        name="example",
        read=parsers.text,
        help="The example to run: its path, the end of its path, or its name.",
        metavar="EXAMPLE",
        example="examples/perception/vision_language/moondream2",
        positional=True,
    ),
    Field(
        name="preset",
        read=parsers.text,
        help="The preset of the example to run.",
        metavar="PRESET",
        example="train",
        default="the only preset except `build`",
        positional=True,
    ),
    Field(
        name="args",
        read=parsers.words,
        help="More arguments for the preset's script; on the command line, everything after `--`.",
        metavar="ARGS",
        example="--epochs 3",
        positional=True,
    ),
    Field(
        name="command",
        read=parsers.script,
        help="A shell command to run instead of an example.",
        metavar="COMMAND",
        example="python train.py",
    ),
    Field(
        name="workdir",
        read=parsers.text,
        help="With a command: the folder whose files go to the machine, and in which it runs.",
        metavar="DIR",
        example="src",
        default="the current folder",
    ),
    Field(
        name="include",
        read=parsers.globs,
        help="With a command or a task: files of its folder to send although a rule leaves them out.",
        metavar="GLOB",
        example="models/tiny.env",
        default="none",
        repeatable=True,
    ),
    Field(
        name="exclude",
        read=parsers.globs,
        help="With a command or a task: files of its folder that stay here. A `.skyignore` in the folder does the "
        "same. `.git`, virtual environments and untracked files with credentials always stay.",
        metavar="GLOB",
        example="data/**",
        default="the lines of the folder's `.skyignore`",
        repeatable=True,
    ),
    Field(
        name="files",
        read=parsers.globs,
        help="With an example: more files of the repository for the machine, as globs from the root. The input "
        "changed_since watches the same files.",
        metavar="GLOB",
        example="src/mylib/**",
        default="`files` of its example.yaml, else the packages of the Python project and the files that scripts name",
        repeatable=True,
    ),
    Field(
        name="task",
        read=parsers.text,
        help="A SkyPilot task YAML to run instead of an example. Other inputs override its values.",
        metavar="FILE",
        example="task.yaml",
        other_flags=("--yaml-file",),
    ),
    Field(
        name="gpu",
        read=accelerators.read,
        help="GPU and count. A comma list is an order of preference; braces take the cheapest; `none` means no GPU.",
        metavar="GPU",
        example="{L4:1, A10G:1}",
        default="the example's own need",
        other_flags=("--gpus",),
    ),
    Field(
        name="cloud",
        read=locations.read,
        help="cloud[/region[/zone]], or several in the order to try. `sandbox` is a cloud on your own "
        "Docker; `any` is the cheapest cloud with credentials.",
        metavar="CLOUD",
        example="aws/us-east-1,gcp",
        default="any",
        other_flags=("--infra",),
    ),
    Field(
        name="region",
        read=parsers.text,
        help="The region, when `cloud` names one cloud.",
        metavar="REGION",
        example="us-east-1",
        default="any",
    ),
    Field(
        name="runner",
        read=locations.runner,
        help="Another way to name the cloud: skypilot (any), ec2, gcp, azure or lambda.",
        metavar="RUNNER",
        example="ec2",
    ),
    Field(
        name="spot",
        read=parsers.spot,
        help="`true`: spot machines only, which cost less and which the provider may take away. `fallback`: "
        "spot first, then on-demand.",
        metavar="true|false|fallback",
        example="fallback",
        default="false",
        value_optional=True,
    ),
    Field(
        name="num_nodes",
        read=parsers.whole,
        help="The number of machines that run the job together.",
        metavar="N",
        example="2",
        default="1",
    ),
    Field(
        name="image",
        read=parsers.image,
        help="Run everything inside this Docker image. Without it, the example uses the machine's own Docker.",
        metavar="IMAGE",
        example="pytorch/pytorch:2.4.0-cuda12.1-cudnn9-runtime",
    ),
    Field(
        name="cpus",
        read=parsers.amount,
        help="The least number of vCPUs of a machine.",
        metavar="N",
        example="8",
        default="the example's own need",
    ),
    Field(
        name="memory",
        read=parsers.gibibytes,
        help="The least memory of a machine, in GiB.",
        metavar="GIB",
        example="32",
        default="the example's own need",
    ),
    Field(
        name="disk_size",
        read=parsers.gigabytes,
        help="The disk of a machine, in GB.",
        metavar="GB",
        example="200",
        default="100, or the example's own need and 60 more for the image",
    ),
    Field(
        name="instance_type",
        read=parsers.text,
        help="Exactly this type of machine. `cloud` must name one cloud.",
        metavar="TYPE",
        example="g6.xlarge",
    ),
    Field(
        name="max_runtime",
        read=parsers.minutes,
        help="The longest time for setup and run on the machine; then cvl-ci stops the job. A number alone is minutes.",
        metavar="TIME",
        example="1h30m",
        default="60m",
    ),
    Field(
        name="provision_timeout",
        read=parsers.minutes,
        help="The longest time from the first request for machines until the job begins; then cvl-ci gives up.",
        metavar="TIME",
        example="10m",
        default="15m",
    ),
    Field(
        name="heartbeat_minutes",
        read=parsers.whole_or_none,
        help="The machine ends itself this many minutes after its last contact with the runner. 0: only at "
        "its deadline.",
        metavar="N",
        example="5",
        default="10",
    ),
    Field(
        name="max_cost",
        read=parsers.dollars,
        help="The most that the whole run may cost, in US dollars. cvl-ci refuses the run, or stops it, "
        "before it costs more.",
        metavar="USD",
        example="2.50",
        default="no limit except max_runtime",
    ),
    Field(
        name="keep_on_failure",
        read=parsers.minutes_kept,
        help="Minutes for which the machine of a failed job stays, so that you can log in. You pay for them, "
        "within max_cost; then the machine ends itself.",
        metavar="N",
        example="30",
        default="0",
    ),
    Field(
        name="ssh_public_key",
        read=parsers.public_key,
        help="A public key that may log in to a kept machine. In a workflow, keep_on_failure needs one.",
        metavar="KEY",
        example="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc anna@laptop",
    ),
    Field(
        name="env",
        read=parsers.environment,
        help="Environment variables of the job, as KEY=VALUE.",
        metavar="KEY=VALUE",
        example="EPOCHS=3",
        repeatable=True,
        other_flags=("--envs",),
    ),
    Field(
        name="secrets",
        read=parsers.secrets({}),
        help="As env, but masked everywhere. On the command line, a NAME alone takes its value from your environment.",
        metavar="KEY[=VALUE]",
        example="HF_TOKEN",
        repeatable=True,
        other_flags=("--secret",),
    ),
    Field(
        name="repeat",
        read=parsers.turns,
        help="Run the job this many times on one machine, each time in a fresh copy. Metrics are medians, "
        "with all samples. In a matrix: this many legs, each on its own machine.",
        metavar="N",
        example="5",
        default="1, and 5 with compare",
    ),
    Field(
        name="compare",
        read=parsers.text,
        help="A commit or branch. The commit where this checkout left it runs on the same machine, in turns with this "
        "checkout. Every metric gets a verdict.",
        metavar="REF",
        example="origin/main",
        other_flags=("--ab",),
    ),
    Field(
        name="fail_on_regression",
        read=parsers.flag,
        help="With compare, and in a report: a metric that is worse beyond tolerance and noise fails (exit code 1).",
        metavar="true|false",
        example="true",
        default="false: the report only shows it",
        value_optional=True,
    ),
    Field(
        name="outputs",
        read=parsers.globs,
        help="The files to fetch, as globs with `!` and `{a,b}`. A pattern without a slash matches at any depth.",
        metavar="GLOB",
        example="outputs/**",
        default="all files that the job changed",
        repeatable=True,
        other_flags=("--output",),
    ),
)


BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}
