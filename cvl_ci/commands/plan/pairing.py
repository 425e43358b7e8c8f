"""Put two versions of the same work on one machine: the base's plan next to the head's, with files from git's store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from cvl_ci.errors import RequestError
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Inputs
from cvl_ci.inputs.run_inputs import TrialInputs
from cvl_ci.model.plan import BASE_FOLDER, PairedBase, RunPlan
from cvl_ci.model.staged_files import StagedFile
from cvl_ci.planning import safe_yaml
from cvl_ci.ports import Checkout
from cvl_ci.result.benchmark import rules


def with_base(plan: RunPlan, inputs: Inputs, *, checkout: Checkout, of: Callable[..., RunPlan]) -> RunPlan:
    """Add the base to a plan. Raises RequestError.

    A base without such work cannot be compared: a warning reports it, and the run goes on.
    """
    ref = inputs.trials.compare or ""
    rules_text = _rules(checkout)
    rules.read(rules_text)
    try:
        base_checkout = checkout.at(ref)
        base = of(replace(inputs, trials=TrialInputs(repeat=inputs.trials.repeat)), checkout=base_checkout)
    except Wrong as wrong:
        raise RequestError([inputs.mistake("compare", ref, wrong.problem, near=wrong.near)]) from None
    except RequestError as error:
        return replace(
            plan, warnings=(*plan.warnings, f"Not compared with {ref}, which has no such work: {error.mistakes[0]}")
        )
    if missing := ", ".join(base.work.missing_scripts):
        warning = f"Not compared with {ref}, which has no {missing} for its command."
        return replace(plan, warnings=(*plan.warnings, warning))
    against = PairedBase(
        ref=ref,
        commit=base_checkout.head,
        directory=base.work.directory,
        setup_commands=base.work.setup_commands,
        run_commands=base.work.run_commands,
        env=_other(base.variables.env, plan.variables.env),
    )
    files = [
        StagedFile(path=f"{BASE_FOLDER}/{file.path}", source=file.source, bytes=file.bytes)
        for file in base.files.staged
    ]
    commits = [replace(commit, path=BASE_FOLDER) for commit in base.files.commits]
    return replace(
        plan,
        trials=replace(plan.trials, base=against, rules=rules_text),
        files=replace(plan.files, staged=(*plan.files.staged, *files), commits=(*plan.files.commits, *commits)),
    )


def _rules(checkout: Checkout) -> bytes:
    """Return the rules of the head. The tolerance of the base does not count any more."""
    try:
        return checkout.read(rules.FILE_NAME, limit=safe_yaml.LARGEST_BYTES + 1)
    except OSError:
        return b""


def _other(base: Mapping[str, str], head: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in base.items() if head.get(name) != value}
