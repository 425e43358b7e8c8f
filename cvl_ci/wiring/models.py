"""The verb `models`: typed words in, lines out. It joins the hub, a folder or both with a bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvl_ci.errors import NOTHING_STARTED, CvlError, InputProblem, RequestError, StorageError
from cvl_ci.inputs.model_inputs import LIST, REMOVE, UPLOAD, VERIFY, ModelInputs
from cvl_ci.inputs.option import options_of
from cvl_ci.inputs.reader import Spelling, read_group

if TYPE_CHECKING:
    from cvl_ci.commands.models.model_store import ModelStore
    from cvl_ci.commands.models.upload import UploadedModel
    from cvl_ci.model.bucket import BucketAddress
    from cvl_ci.model.model_plan import ModelName, ModelPlan
    from cvl_ci.model.snapshot import Manifest
    from cvl_ci.ports.models import ModelSource

Say = Callable[[str], None]
Values = Mapping[str, Any]
"""Inputs by name and type as in inputs/model_inputs.py, from any entry point."""

NO_MACHINE = "No machine was started."
_WITH_MODEL = {UPLOAD, VERIFY, REMOVE}


@dataclass(frozen=True, kw_only=True)
class ModelsCaller:
    """The entry point. `say` receives results; `tell` receives progress and notes."""

    folder: Path
    environ: Mapping[str, str]
    say: Say
    tell: Say


def models(values: Values, caller: ModelsCaller) -> int:
    """Carry out one operation on models and return the exit code. Raises CvlError."""
    _require(values)
    try:
        return _carry_out(values, caller)
    except CvlError as error:
        if values["operation"] != UPLOAD and error.money == NOTHING_STARTED:
            error.money = NO_MACHINE
        raise


def _carry_out(values: Values, caller: ModelsCaller) -> int:
    from cvl_ci.commands.models import listing, text

    operation, repo, address = values["operation"], values.get("repo_id", ""), values["storage"]
    revision = values.get("revision") or ""
    model_store = open_model_store(address, caller.environ)
    if operation == LIST:
        lines = text.lines_of_list(listing.stored_models(model_store), address)
    elif operation == REMOVE:
        lines = text.removed(repo, listing.remove(model_store, repo, revision), address)
    elif operation == VERIFY:
        result = listing.verify(model_store, repo, revision or "main", hub=open_hub(caller.environ))
        lines = text.verified(result)
        if result.problems:
            raise StorageError(
                "\n".join(lines),
                money=NO_MACHINE,
                next_step=f"Remove the model and upload it again: cvl-ci models remove {repo} --in {address}",
            )
    else:
        lines = text.uploaded(upload_model(values, caller, model_store))
    for line in lines:
        caller.say(line)
    return 0


def upload_by_keywords(keywords: Mapping[str, object], caller: ModelsCaller) -> UploadedModel:
    """Store the model that a program names. Raises CvlError, with all mistakes in the keywords at once."""
    mistakes: list[InputProblem] = []
    inputs = read_group(ModelInputs, keywords, spelling=Spelling.KEYWORD, mistakes=mistakes)
    values = {option.name: getattr(inputs, option.name) for option in options_of(ModelInputs)}
    names = {mistake.field for mistake in mistakes}
    try:
        _require({**values, "operation": UPLOAD})
    except RequestError as error:
        mistakes += [one for one in error.mistakes if one.field not in names]
    if mistakes:
        raise RequestError(mistakes)
    return upload_model(values, caller, open_model_store(values["storage"], caller.environ))


def upload_model(values: Values, caller: ModelsCaller, model_store: ModelStore) -> UploadedModel:
    """Store the model that these values name. Raises CvlError."""
    from cvl_ci.commands.models.upload import UploadPorts, UploadRequest, upload
    from cvl_ci.local.clock import SystemClock

    source, name = _source(values, caller)
    request = UploadRequest(
        repo=name, files=tuple(values.get("model_files", ())), revision=values.get("revision") or ""
    )
    return upload(request, UploadPorts(source=source, model_store=model_store, clock=SystemClock(), tell=caller.tell))


def models_of_run(environ: Mapping[str, str]) -> Callable[[ModelPlan, str, Say], None]:
    """Return a function that has a run's models in their bucket before its machine exists."""

    def prepare(plan: ModelPlan, owner: str, tell: Say) -> None:
        from cvl_ci.commands.models.ensuring import Ensuring
        from cvl_ci.local.clock import SystemClock

        if plan.cache is None:
            return
        model_store = open_model_store(plan.cache, environ)
        caller = ModelsCaller(folder=Path(), environ=environ, say=tell, tell=tell)

        def upload(name: ModelName) -> Manifest:
            values = {"repo_id": name.repo, "revision": name.revision}
            return upload_model(values, caller, model_store).manifest

        if problem := model_store.store.end_unfinished_uploads(model_store.prefix()):  # the machine may leave some too
            tell(f"No rule of the bucket ends unfinished uploads by itself: {problem}")
        ensuring = Ensuring(model_store=model_store, clock=SystemClock(), owner=owner, upload=upload, tell=tell)
        for name in plan.names:
            ensuring.ensure(name)

    return prepare


def open_model_store(address: BucketAddress, environ: Mapping[str, str]) -> ModelStore:
    """Return the models below this address. No request is made yet."""
    from cvl_ci.clouds.aws.object_store import S3Bucket, s3_client
    from cvl_ci.commands.models.model_store import ModelStore

    return ModelStore(S3Bucket(s3_client(environ=environ), address.bucket), address)


def open_hub(environ: Mapping[str, str]) -> ModelSource:
    """Return the hub that the environment names, with its token. The token goes nowhere else."""
    from cvl_ci.hub.client import HuggingFaceHub

    token = (environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN") or "").strip()
    return HuggingFaceHub(endpoint=environ.get("HF_ENDPOINT") or None, token=token or None)


def _source(values: Values, caller: ModelsCaller) -> tuple[ModelSource, str]:
    """Return the source of a model and the name that it gets in the bucket."""
    from cvl_ci.local.model_folder import ModelFolder

    repo = values["repo_id"]
    if not repo.startswith((".", "/")):
        if (caller.folder / repo).is_dir():
            caller.tell(f"cvl-ci asks the hub for {repo}. To store the folder of that name here, type ./{repo}")
        return open_hub(caller.environ), repo
    folder = (caller.folder / repo).resolve()
    return ModelFolder(folder), values.get("model_name") or _local_name(folder.name)


def _local_name(folder: str) -> str:
    from cvl_ci.inputs.model_inputs import read_name
    from cvl_ci.inputs.parsers import Wrong

    try:
        return read_name(f"local/{folder}")
    except Wrong:
        mistake = InputProblem(
            field="model_name", value=folder, problem="is missing: the folder has a name that no model can have"
        )
        raise RequestError([mistake]) from None


def _require(values: Values) -> None:
    """Raise RequestError with everything that is missing or too much."""
    operation, repo = values.get("operation", ""), values.get("repo_id", "")
    mistakes: list[InputProblem] = []
    if not operation:
        problem = "is missing: say upload, list, verify or remove"
        mistakes.append(InputProblem(field="operation", value="", problem=problem))
    if operation in _WITH_MODEL and not repo:
        mistakes.append(InputProblem(field="repo_id", value="", problem=f"is missing: name the model to {operation}"))
    if operation in {VERIFY, REMOVE} and repo.startswith((".", "/")):
        mistakes.append(InputProblem(field="repo_id", value=repo, problem="is a folder: name the model in the bucket"))
    if operation == LIST and repo:
        mistakes.append(InputProblem(field="repo_id", value=repo, problem="is too much: `list` shows all models"))
    if operation != UPLOAD and values.get("model_files"):
        surplus = " ".join(values["model_files"])
        mistakes.append(InputProblem(field="model_files", value=surplus, problem="belongs to `upload` alone"))
    if not values.get("storage"):
        problem = "is missing: name the bucket, as in s3://my-bucket/hub"
        mistakes.append(InputProblem(field="storage", value="", problem=problem))
    if mistakes:
        raise RequestError(mistakes)
