"""Add to a plan the file that its command runs and that no machine would have."""

from __future__ import annotations

from dataclasses import replace

from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning.named_file import has_file, named_file


def with_missing_file(draft: RunPlan, inputs: Inputs) -> RunPlan:
    """Add the file that the command of a draft runs, where it is not among the files for the machine.

    A run refuses such a plan. Where something else can bring the file, the plan has a warning instead.
    """
    command = draft.work.run_commands[0] if draft.work.run_commands else ""
    named = named_file(command)
    if named is None or has_file(named.path, {file.path for file in draft.files.staged}):
        return draft
    missing = replace(draft, work=replace(draft.work, missing_scripts=(named.path,)))
    ends_there = draft.work.fail_fast or "\n" not in command.strip()
    if not named.is_certain or not ends_there or _may_come(draft, inputs):
        return with_warning(missing)
    return replace(missing, warnings=(*missing.warnings, f"{_not_sent(missing)}: plan works, run does not."))


def with_warning(plan: RunPlan) -> RunPlan:
    """Return a plan that runs although files of its command are missing: something else may bring them."""
    problem = _not_sent(plan)
    other_warnings = (text for text in plan.warnings if not text.startswith(problem))
    warning = f"{problem}: its setup, a mount, the image or an earlier job must bring it."
    return replace(plan, work=replace(plan.work, missing_scripts=()), warnings=(*other_warnings, warning))


def _not_sent(plan: RunPlan) -> str:
    return f"The command runs {', '.join(plan.work.missing_scripts)}, which is not among the files for the machine"


def _may_come(draft: RunPlan, inputs: Inputs) -> bool:
    """Return whether anything but the files that go along can put a file into the folder of the command."""
    work = draft.work
    brings = (work.setup_commands, work.image, work.task_extra, inputs.work.setup, inputs.machine.image)
    stays = (inputs.files.mounts, inputs.keep.reuse, inputs.checkpoints.checkpoint_to, inputs.checkpoints.resume)
    return any((*brings, *stays))
