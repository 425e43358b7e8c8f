"""The one table of inputs: what the command line, the action's inputs and the library's keywords all come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cvl_ci.request import accelerators, places, values


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
        read=values.text,
        help="The example to run: its path, the end of its path, or its name.",
        metavar="EXAMPLE",
        example="examples/perception/vision_language/moondream2",
        positional=True,
    ),
    Field(
        name="preset",
        read=values.text,
        help="Which of the example's presets to run.",
        metavar="PRESET",
        example="train",
        default="the only one beside `build`",
        positional=True,
    ),
    Field(
        name="args",
        read=values.words,
        help="Further arguments for the preset's script; on the command line all that follows `--`.",
        metavar="ARGS",
        example="--epochs 3",
        positional=True,
    ),
    Field(
        name="command",
        read=values.script,
        help="A shell command to run instead of an example.",
        metavar="COMMAND",
        example="python train.py",
    ),
    Field(
        name="workdir",
        read=values.text,
        help="With a command: the folder whose files go to the machine, and where it runs.",
        metavar="DIR",
        example="src",
        default="the folder you stand in",
    ),
    Field(
        name="files",
        read=values.globs,
        help="With an example: which files of the repository go to the machine beside its own folder, as globs from "
        "its root. changed_since looks at the same files.",
        metavar="GLOB",
        example="src/mylib/**",
        default="`files` of its example.yaml, else the packages of its Python project and what its scripts name",
        repeatable=True,
    ),
    Field(
        name="task",
        read=values.text,
        help="A SkyPilot task YAML to run instead of an example; inputs given beside it win over what it says.",
        metavar="FILE",
        example="task.yaml",
        other_flags=("--yaml-file",),
    ),
    Field(
        name="gpu",
        read=accelerators.read,
        help="GPU and count, or alternatives in order of preference; `none` for a machine without.",
        metavar="GPU",
        example="{L4:1, A10G:1}",
        default="what the example declares",
        other_flags=("--gpus",),
    ),
    Field(
        name="cloud",
        read=places.read,
        help="cloud[/region[/zone]], or several in the order to try; `sandbox` is a cloud on your own Docker; "
        "`any` is the cheapest of all that are set up.",
        metavar="CLOUD",
        example="aws/us-east-1,gcp",
        default="any",
        other_flags=("--infra",),
    ),
    Field(
        name="region",
        read=values.text,
        help="The region of the one cloud given.",
        metavar="REGION",
        example="us-east-1",
        default="any",
    ),
    Field(
        name="runner",
        read=places.runner,
        help="Another way to name the cloud: skypilot (any), ec2, gcp, azure or lambda.",
        metavar="RUNNER",
        example="ec2",
    ),
    Field(
        name="spot",
        read=values.spot,
        help="true: only machines that may be taken away, at a lower price; fallback: those first, then on-demand.",
        metavar="true|false|fallback",
        example="fallback",
        default="false",
        value_optional=True,
    ),
    Field(
        name="num_nodes",
        read=values.whole,
        help="How many machines run it together.",
        metavar="N",
        example="2",
        default="1",
    ),
    Field(
        name="image",
        read=values.image,
        help="Run everything inside this Docker image, instead of letting the example use the machine's Docker.",
        metavar="IMAGE",
        example="pytorch/pytorch:2.4.0-cuda12.1-cudnn9-runtime",
    ),
    Field(
        name="cpus",
        read=values.amount,
        help="At least this many vCPUs a machine.",
        metavar="N",
        example="8",
        default="what the example declares",
    ),
    Field(
        name="memory",
        read=values.gibibytes,
        help="At least this much memory a machine, in GiB.",
        metavar="GIB",
        example="32",
        default="what the example declares",
    ),
    Field(
        name="disk_size",
        read=values.gigabytes,
        help="Disk of a machine, in GB.",
        metavar="GB",
        example="200",
        default="100, or what the example declares and 60 more for the image",
    ),
    Field(
        name="instance_type",
        read=values.text,
        help="Exactly this type of machine; needs one cloud.",
        metavar="TYPE",
        example="g6.xlarge",
    ),
    Field(
        name="max_runtime",
        read=values.minutes,
        help="Longest time for setup and run on the machine; then it is stopped. A number alone is minutes.",
        metavar="TIME",
        example="1h30m",
        default="60m",
    ),
    Field(
        name="provision_timeout",
        read=values.minutes,
        help="How long machines may take, from being asked for until the job begins; then they are given up.",
        metavar="TIME",
        example="10m",
        default="15m",
    ),
    Field(
        name="heartbeat_minutes",
        read=values.whole_or_none,
        help="The machine ends itself this many minutes after the runner was last heard of; 0: only at its deadline.",
        metavar="N",
        example="5",
        default="10",
    ),
    Field(
        name="max_cost",
        read=values.dollars,
        help="Most that the whole run may cost, in US dollars: it is not started, or stopped, before it costs more.",
        metavar="USD",
        example="2.50",
        default="no limit but max_runtime",
    ),
    Field(
        name="keep_on_failure",
        read=values.minutes_kept,
        help="Minutes that the machine of a job that failed is kept for you to log in, at its price and within "
        "max_cost; then it ends by itself.",
        metavar="N",
        example="30",
        default="0",
    ),
    Field(
        name="ssh_public_key",
        read=values.public_key,
        help="A public key that may log in to a machine that is kept; in a workflow keep_on_failure needs one.",
        metavar="KEY",
        example="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc anna@laptop",
    ),
    Field(
        name="env",
        read=values.environment,
        help="Environment variables of the job, KEY=VALUE.",
        metavar="KEY=VALUE",
        example="EPOCHS=3",
        repeatable=True,
        other_flags=("--envs",),
    ),
    Field(
        name="secrets",
        read=values.secrets({}),
        help="As env, but never shown; on the command line a NAME alone takes its value from your environment.",
        metavar="KEY[=VALUE]",
        example="HF_TOKEN",
        repeatable=True,
        other_flags=("--secret",),
    ),
    Field(
        name="repeat",
        read=values.turns,
        help="Run it so many times on one machine, each time in a fresh copy: metrics are medians, and all samples are "
        "kept. In a matrix: so many legs, each on a machine of its own.",
        metavar="N",
        example="5",
        default="1, and 5 with compare",
    ),
    Field(
        name="compare",
        read=values.text,
        help="A commit or branch: what this checkout left it at runs beside it on the same machine, in turns thrown "
        "anew for each pair, and every metric gets a verdict.",
        metavar="REF",
        example="origin/main",
        other_flags=("--ab",),
    ),
    Field(
        name="fail_on_regression",
        read=values.flag,
        help="With compare, and in a report: what is worse beyond tolerance and noise fails it, with exit code 1.",
        metavar="true|false",
        example="true",
        default="false: it is only told",
        value_optional=True,
    ),
    Field(
        name="outputs",
        read=values.globs,
        help="Which files to bring back, as globs.",
        metavar="GLOB",
        example="outputs/**",
        default="all that the job changed",
        repeatable=True,
        other_flags=("--output",),
    ),
)


BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}
