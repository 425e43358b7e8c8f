"""The plan of a step: its checkout, its files that git does not track, and its price as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring

if TYPE_CHECKING:
    from cvl_ci.action.step import Step
    from cvl_ci.inputs.reader import Inputs
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.ports import Checkout


def checkout_of(inputs: Inputs) -> Checkout:
    from cvl_ci.local.git.checkout import open_checkout

    return open_checkout(Path.cwd(), at=inputs.work.workdir or inputs.work.task or ".")


def without_shared_machine(inputs: Inputs, step: Step) -> Inputs:
    """Return the inputs without a key for code from outside the repository: it never shares a machine.

    The commit of `allow_fork_sha` is such code for each event: the event of a comment does not name the fork.
    """
    event, keep = step.context.event, inputs.keep
    is_foreign = event.from_fork or event.from_dependabot or bool(step.inputs.trust.allow_fork_sha.strip())
    if not is_foreign or keep.reuse is None:
        return inputs
    step.reporter.notice("This run has a machine of its own: code from outside the repository shares none.")
    alone = replace(keep, reuse=None, reuse_key=None, idle=None, max_age=None, if_busy=None)
    names = {"reuse", "reuse_key", "idle", "max_age", "if_busy"}
    mistakes = tuple(one for one in inputs.mistakes if one.field not in names)
    return replace(inputs, keep=alone, mistakes=mistakes)


def plan_of(inputs: Inputs, environ: Mapping[str, str]) -> RunPlan:
    """Return the plan of the inputs. Raises RequestError with all mistakes."""
    from cvl_ci.commands.plan.build_run import prepare

    through_server = wiring.goes_through_server(environ, by_inputs=True)
    return prepare(inputs, checkout=checkout_of(inputs), prices=wiring.prices(environ), through_server=through_server)


def untracked_files(inputs: Inputs, plan: RunPlan) -> Sequence[str]:
    """Return the files that a plan sends or reads, and that git does not track."""
    from cvl_ci.local.git.committed import sources_of
    from cvl_ci.local.git.committed import untracked_files as untracked

    checkout = checkout_of(inputs)
    task = checkout.locate(inputs.work.task) if inputs.work.task else None
    read = [str(checkout.root / task)] if task else []
    return untracked(checkout.root, [*sources_of(plan), *read])


def as_text(plan: RunPlan, environ: Mapping[str, str]) -> str:
    """Return the plan with its price."""
    from cvl_ci.commands.plan import quote as quoting
    from cvl_ci.commands.plan import quote_text

    prices = wiring.prices(environ)
    return quote_text.as_text(plan, quoting.quote(plan, prices), prices)
