"""Add the mounts to a plan: the files of local folders go along, and each mount that cannot work is a mistake."""

from __future__ import annotations

from dataclasses import replace

from cvl_ci.commands.plan.folder_files import folder_files
from cvl_ci.errors import InputProblem
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.mount import COPIES_FOLDER, UPLOADS_FOLDER, Mount
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.staged_files import StagedFile
from cvl_ci.planning import storage_rules
from cvl_ci.ports import Checkout


def with_mounts(
    plan: RunPlan, inputs: Inputs, checkout: Checkout, *, through_server: bool
) -> tuple[RunPlan, list[InputProblem]]:
    mounts: list[Mount] = []
    staged: list[StagedFile] = []
    mistakes = []
    warnings: list[str] = []
    for mount in inputs.files.mounts:
        if not mount.is_local:
            mounts.append(mount)
            continue
        try:
            sent = folder_files(mount.source, inputs, checkout)
        except Wrong as wrong:
            mistakes.append(inputs.mistake("mounts", f"{mount.target}={mount.source}", wrong.problem))
            continue
        folder = f"{UPLOADS_FOLDER if mount.needs_bucket else COPIES_FOLDER}/{mount.digest}"
        files = sent.plan.staged
        staged += [replace(file, path=f"{folder}/{file.path}") for file in files]
        mounts.append(replace(mount, files=len(files), bytes=sum(file.bytes for file in files)))
        warnings += sent.warnings
    files_plan = replace(plan.files, staged=(*plan.files.staged, *staged), mounts=tuple(mounts))
    plan = replace(plan, files=files_plan, warnings=(*plan.warnings, *warnings))
    served_mistakes = storage_rules.mistakes_through_server(plan) if through_server else ()
    for problem in (*storage_rules.mistakes(plan), *served_mistakes):
        field, _, rest = problem.partition(" ")
        own = {"file_mounts": _kind_of(inputs), "volumes": "task"}
        name = own.get(field.partition(".")[0], "mounts")
        mistakes.append(inputs.mistake(name, field, rest))
    return plan, mistakes


def _kind_of(inputs: Inputs) -> str:
    return "task" if inputs.work.task else "file_mounts"
