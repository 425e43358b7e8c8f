"""The inputs of `models`: the operation, the model, its files, and the bucket that stores it."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.inputs import bucket_address, parsers
from cvl_ci.inputs.matrix_inputs import read_list
from cvl_ci.inputs.option import COMMANDS, option
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.model_plan import ModelName
from cvl_ci.model.snapshot import DEFAULT_REF, REPO, is_safe_path

UPLOAD, LIST, VERIFY, REMOVE = "upload", "list", "verify", "remove"
OPERATIONS = (UPLOAD, LIST, VERIFY, REMOVE)


def read_repo(value: object) -> str:
    """Return a model of the hub, or the path of a folder, which begins with `.` or `/`. Raises Wrong."""
    name = parsers.text(value)
    if not name.startswith((".", "/")) and not REPO.fullmatch(name):
        raise Wrong("is neither OWNER/NAME of the hub nor a folder such as ./model")
    return name


def read_name(value: object) -> str:
    """Return the name of a model in the bucket. Raises Wrong."""
    name = parsers.text(value)
    if not REPO.fullmatch(name) or "--" in name:
        raise Wrong("is not a name such as team/model")
    return name


@dataclass(frozen=True, kw_only=True)
class ModelInputs:
    """A model and its place in a bucket."""

    operation: str = option(
        parsers.choice(*OPERATIONS),
        value="",
        help="`upload` stores a model once. `list` shows the models with their price. `verify` reads one back and "
        "compares its checksums. `remove` removes one.",
        metavar="upload|list|verify|remove",
        example="upload",
        is_positional=True,
        entry_points=COMMANDS,
        verbs=("models",),
    )
    repo_id: str = option(
        read_repo,
        value="",
        help="The model: its name on the Hugging Face hub. A folder of this computer begins with `./` or `/`.",
        metavar="REPO",
        example="Qwen/Qwen2.5-0.5B",
        is_positional=True,
        entry_points=COMMANDS,
        verbs=("models",),
    )
    model_files: tuple[str, ...] = option(
        read_list,
        value=(),
        help="With `upload`: the files of the model, as globs.",
        metavar="FILES...",
        example="*.safetensors",
        default="all",
        is_positional=True,
        is_repeatable=True,
        entry_points=COMMANDS,
        verbs=("models",),
    )
    storage: BucketAddress | None = option(
        bucket_address.read,
        help="The bucket with the models, and a prefix in it.",
        metavar="S3",
        example="s3://my-bucket/hub",
        other_flags=("--to", "--in"),
        entry_points=COMMANDS,
        verbs=("models",),
    )
    revision: str | None = option(
        parsers.text,
        help="The commit, branch or tag of the model. `remove` without it removes all commits.",
        metavar="REVISION",
        example="main",
        default="main",
        entry_points=COMMANDS,
        verbs=("models",),
    )
    model_name: str | None = option(
        read_name,
        help="With a folder: the name of the model in the bucket.",
        metavar="NAME",
        example="team/model",
        default="local/FOLDER",
        entry_points=COMMANDS,
        verbs=("models",),
    )


def read_names(value: object) -> tuple[ModelName, ...]:
    """Return the models of a list, each `OWNER/NAME` or `OWNER/NAME@REVISION`. Raises Wrong."""
    names = []
    for word in read_list(value):
        repo, separator, revision = word.partition("@")
        if not REPO.fullmatch(repo) or (separator and not is_safe_path(revision)):
            raise Wrong("is neither OWNER/NAME nor OWNER/NAME@REVISION", display=word)
        names.append(ModelName(repo=repo, revision=revision or DEFAULT_REF))
    return tuple(names)


@dataclass(frozen=True, kw_only=True)
class RunModelInputs:
    """The bucket of models that a run uses, and the models that must be in it."""

    hf_cache: BucketAddress | None = option(
        bucket_address.read,
        help="A bucket of models. They are on the machine's disk before the job, and new ones go to the bucket after "
        "it. The hub is not asked if all models are there. It works on machines of AWS.",
        metavar="S3",
        example="s3://my-bucket/hub",
    )
    models: tuple[ModelName, ...] = option(
        read_names,
        value=(),
        help="With hf_cache: all models that the job uses. cvl-ci stores missing ones before it launches a machine, "
        "once for all legs.",
        metavar="MODEL",
        example="Qwen/Qwen2.5-0.5B@main",
        default="those of the last run of the same work",
        is_repeatable=True,
    )


MODEL_GROUPS = (ModelInputs,)
