"""A queue of jobs: its file, its plans before the first job starts, and its runs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.commands.plan import month as months
from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.queue import estimate as estimating
from cvl_ci.commands.queue import machines, run_queue
from cvl_ci.commands.queue.queue_ports import QueuePorts
from cvl_ci.commands.queue.queue_record import FILE_NAME, QueueRecord
from cvl_ci.commands.run.steps import refuse_missing_scripts
from cvl_ci.errors import BudgetError, CvlError, InputProblem, RequestError
from cvl_ci.inputs.option import by_own_name
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.inputs.table import RUN_OPTIONS
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.git.committed import is_committed
from cvl_ci.planning import queue_file, safe_yaml
from cvl_ci.result.secret_names import secrets_of
from cvl_ci.wiring.access import goes_through_server, on_usable_clouds, require_credentials
from cvl_ci.wiring.clouds import prices
from cvl_ci.wiring.month import within_month
from cvl_ci.wiring.queue_runs import JobThreads, QueueCaller

if TYPE_CHECKING:
    from cvl_ci.commands.queue.estimate import QueueEstimate
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.queue import JobRecord, Queue
    from cvl_ci.ports import Prices


def read(path: Path, *, overrides: Mapping[str, object]) -> Queue:
    """Return the queue of a file. Raises RequestError with all mistakes."""
    try:
        with path.open("rb") as file:
            document = safe_yaml.load(file.read(safe_yaml.LARGEST_BYTES + 1))
    except OSError as error:
        problem = f"is not a readable file ({error.strerror or error})"
        raise RequestError([InputProblem(field="FILE", value=str(path), problem=problem)]) from None
    except safe_yaml.Unreadable as error:
        raise RequestError([InputProblem(field="FILE", value=str(path), problem=str(error))]) from None
    return of(document, overrides=overrides)


def of_text(text: str, *, overrides: Mapping[str, object]) -> Queue:
    """Return the queue of the JSON object in an input. Raises RequestError with all mistakes."""
    try:
        document = json.loads(text) if len(text) <= safe_yaml.LARGEST_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        problem = f"is not a JSON object of at most {safe_yaml.LARGEST_BYTES >> 10} KiB"
        raise RequestError([InputProblem(field="queue", value=text[:80], problem=problem)])
    return of(document, overrides=overrides)


def of(
    document: object,
    *,
    overrides: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
    max_parallel: int | None = None,
    budget: float | None = None,
) -> Queue:
    """Return the queue of Python's own values. Raises RequestError with all mistakes.

    `overrides`: inputs that win over those of each job; `defaults`: inputs that count where a job has none.
    `max_parallel` and `budget` win over those of the document.
    """
    limits = {"max_parallel": max_parallel, "budget": budget}
    if own := {name: value for name, value in limits.items() if value is not None}:
        document = {**(document if isinstance(document, Mapping) else {"jobs": document}), **own}
    queued, mistakes = queue_file.read(document, overrides=overrides)
    if queued is None:
        raise RequestError(mistakes)
    common = by_own_name(defaults or {}, RUN_OPTIONS)
    jobs = tuple(replace(job, request={**common, **job.request}) for job in queued.jobs)
    return replace(queued, jobs=jobs)


def refuse_committed_record(outputs: Path, *, folder: Path) -> None:
    """Raise RequestError if the record of a queue came with a commit. `outputs`: below `folder`, or absolute.

    It could name the lease of another run, so that this queue ends it, or a success without a run.
    """
    path = outputs / FILE_NAME
    if os.path.lexists(folder / path) and is_committed(folder / path):
        problem = "is in git, so a commit could name a lease to end, or a success that never ran"
        raise RequestError(
            [InputProblem(field="queue", value=str(path), problem=problem)],
            next_step=f"Remove it from the commit: git rm -r --cached {shlex.quote(str(outputs))}",
        )


def run(queued: Queue, caller: QueueCaller) -> Mapping[str, JobRecord]:
    """Run a queue. Raises CvlError before any job starts; afterwards each job has a record."""
    return run_planned(queued, plans_of(queued, caller), caller)


def run_planned(queued: Queue, plans: Mapping[str, RunPlan], caller: QueueCaller) -> Mapping[str, JobRecord]:
    """Run a queue whose plans are made. Raises CvlError before any job starts."""
    refuse_committed_record(caller.outputs, folder=Path.cwd())
    _require_scripts(plans)
    catalogue = prices(caller.environ)
    quotes = {name: _most_usd(name, plan, catalogue) for name, plan in plans.items()}
    queued = _within_month(queued, plans, caller)
    _require_prices(queued, quotes)
    for plan in plans.values():
        require_credentials(caller.environ, [location.cloud for location in plan.machines.locations])
    for note in machines.notes(queued):
        caller.tell(note)
    locations = dict.fromkeys(location for plan in plans.values() for location in plan.machines.locations)
    secrets = frozenset(name for plan in plans.values() for name in plan.variables.secrets)
    runs = JobThreads(caller, locations=tuple(locations), secrets=secrets)
    ports = QueuePorts(runs=runs, record=QueueRecord(caller.outputs), changed=caller.changed, tell=caller.tell)
    return run_queue.run(queued, plans, prices=quotes, ports=ports)


def estimate(queued: Queue, caller: QueueCaller) -> QueueEstimate:
    """Return the price and the bounds of a queue. Nothing starts, and no job of an earlier queue counts as over."""
    return estimating.estimate(queued, plans_of(queued, caller, asks_role=False), prices(caller.environ))


def plans_of(
    queued: Queue, caller: QueueCaller, *, by_inputs: bool = False, asks_role: bool = True
) -> dict[str, RunPlan]:
    """Return the plan of each job. A mistake of any job starts none: one error has all of them.

    `by_inputs`: the action's inputs name the credentials.
    """
    catalogue, plans = prices(caller.environ), {}
    through_server = goes_through_server(caller.environ, by_inputs=by_inputs)
    mistakes: list[InputProblem] = []
    for job in queued.jobs:
        try:
            inputs = from_keywords(job.request, environment=caller.environ)
            caller.masks.add(*secrets_of(inputs.variables))
            at = str(inputs.work.workdir or inputs.work.task or ".")
            checkout = open_checkout(caller.folder, at=at)
            plan = prepare(inputs, checkout=checkout, prices=catalogue, through_server=through_server)
            caller.masks.add(*secrets_of(plan.variables))
            plan = on_usable_clouds(plan, caller.environ, catalogue, by_inputs=by_inputs, asks_role=asks_role)
            plans[job.id] = machines.of_job(job, within_month(plan, checkout, caller.environ))
        except RequestError as error:
            mistakes += [replace(one, field=f"job {job.id}: {one.field}") for one in error.mistakes]
    mistakes += machines.mistakes(queued, plans)
    if mistakes:
        raise RequestError(mistakes)
    return plans


def secrets_again(queued: Queue, folder: Path, environ: Mapping[str, str]) -> list[str]:
    """Return the secrets of all jobs, for a process that only reports about them.

    `folder`: in the checkout. A job that cannot be planned any more has only the secrets of its inputs.
    """
    secrets: list[str] = []
    for job in queued.jobs:
        with contextlib.suppress(CvlError, OSError):
            inputs = from_keywords(job.request, environment=environ)
            secrets += secrets_of(inputs.variables)
            checkout = open_checkout(folder, at=str(inputs.work.workdir or inputs.work.task or "."))
            through_server = goes_through_server(environ, by_inputs=True)
            plan = prepare(inputs, checkout=checkout, prices=prices(environ), through_server=through_server)
            secrets += secrets_of(plan.variables)
    return secrets


def _most_usd(job: str, plan: RunPlan, catalogue: Prices) -> float | None:
    """Return the most that a job can cost. Raises BudgetError with its name."""
    try:
        return quoting.quote(plan, catalogue).max_usd
    except BudgetError as error:
        raise BudgetError(f"job {job}: {error.what}", money=error.money, next_step=error.next_step) from None


def _require_scripts(plans: Mapping[str, RunPlan]) -> None:
    """Refuse jobs whose files are missing. A later job of a machine would find it out only when the machine waits."""
    mistakes: list[InputProblem] = []
    next_step = ""
    for name, plan in plans.items():
        try:
            refuse_missing_scripts(plan)
        except RequestError as error:
            mistakes += [replace(one, field=f"job {name}: {one.field}") for one in error.mistakes]
            next_step = error.next_step
    if mistakes:
        raise RequestError(mistakes, next_step=next_step)


def _within_month(queued: Queue, plans: Mapping[str, RunPlan], caller: QueueCaller) -> Queue:
    """Return the queue with the rest of the month's budget as its own, where that is less."""
    for plan in plans.values():
        months.require_known(plan)
    remaining = [plan.limits.month for plan in plans.values() if plan.limits.month is not None]
    if not remaining:
        return queued
    least = min(remaining, key=lambda month: month.remaining_usd)
    caller.tell(f"monthly_budget: {months.describe(least)}.")
    return replace(queued, budget=min(queued.budget or math.inf, least.remaining_usd))


def _require_prices(queued: Queue, quotes: Mapping[str, float | None]) -> None:
    """Refuse a budget that a job without a price could exceed."""
    unknown = [name for name, usd in quotes.items() if usd is None]
    if queued.budget is not None and unknown:
        problem = f"cannot be held: no price is known for {', '.join(unknown)}"
        raise RequestError([InputProblem(field="budget", value=f"{queued.budget:g}", problem=problem)])
