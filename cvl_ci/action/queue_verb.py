"""The verb `queue` as a step of a workflow: jobs as groups of the log, one comment, and post's proof of each lease."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.action.step_costs import StepCosts
from cvl_ci.action.workspace import give_to_owner
from cvl_ci.errors import (
    CapacityError,
    CvlError,
    InputProblem,
    NotProvedGone,
    RequestError,
    UntrustedCode,
    explain,
)
from cvl_ci.model.outcome import EXIT_CODES, Ending
from cvl_ci.model.queue import OVER, JobRecord, JobState
from cvl_ci.result import queue_text
from cvl_ci.result.queue_result import QueueResult

if TYPE_CHECKING:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.state import StepState
    from cvl_ci.action.step import Step
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.queue import Queue
    from cvl_ci.model.release import Release

OUTPUTS = Path("cvl-outputs/queue")
"""A later step or a restored cache finds the record there, and runs no finished job again."""
SANDBOX_POLICY, PLAN_POLICY = "sandbox", "plan"


def carry_out(step: Step, publication: StepPublication, environ: Mapping[str, str], *, policy: tuple[str, str]) -> int:
    """Run a queue and return its exit code. `policy`: as for a run, with its reason. Raises CvlError before any job."""
    queued, values = _queue(step, environ, on_sandbox=policy[0] == SANDBOX_POLICY)
    costs = StepCosts(step, publication, queued=queued, outputs=OUTPUTS)
    if policy[0] == PLAN_POLICY:
        publication.skip(policy[1], "\n".join(job.leg or job.id for job in queued.jobs), title=_file(values) or "queue")
        costs.add_untold({}, reason=policy[1], exit_code=UntrustedCode.exit_code)
        costs.upload()
        return 0
    try:
        return _run(step, publication, environ, queued, values, costs=costs, is_sandboxed=policy[0] == SANDBOX_POLICY)
    except CvlError as error:
        if not step.state.now.leases:
            costs.add_untold({}, reason=error.what, exit_code=error.exit_code)
            costs.upload()
            raise
        step.reporter.refused(explain(error, verb="queue"))  # post proves the leases
        return error.exit_code


def _run(
    step: Step,
    publication: StepPublication,
    environ: Mapping[str, str],
    queued: Queue,
    values: Mapping[str, object],
    *,
    costs: StepCosts,
    is_sandboxed: bool,
) -> int:
    from cvl_ci.local.git.checkout import open_checkout
    from cvl_ci.local.git.committed import sources_of, untracked_files
    from cvl_ci.wiring import queue as wired_queue
    from cvl_ci.wiring.queue_runs import QueueCaller

    watcher = _Watcher(step, queued)
    caller = QueueCaller(
        folder=Path.cwd(),
        outputs=OUTPUTS,
        environ=environ,
        owner=step.owner,
        masks=step.masks,
        line=lambda job, text: None,  # noqa: ARG005  each job's lines come as one group, at its end
        tell=watcher.tell,
        changed=watcher.changed,
        on_lease=watcher.lease,
    )
    plans = wired_queue.plans_of(queued, caller, by_inputs=True)
    costs.works = {name: plan.identity for name, plan in plans.items()}
    caller = replace(
        caller,
        on_priced=lambda job, lease, spending: costs.note(job, plans[job], lease, spending),
        on_ended=costs.add,
    )
    step.reporter.mask(*_secrets(plans))
    root = open_checkout(Path.cwd(), at=".").root
    if not is_sandboxed:
        own = filter(None, [_file(values)])
        step.require_committed(lambda: untracked_files(root, [*own, *_sources(plans, sources_of)]))
    clouds = [place.cloud for plan in plans.values() for place in plan.machines.locations]
    caller = replace(caller, environ=wiring.credentials(environ, list(dict.fromkeys(clouds)), mask=step.reporter.mask))
    records = wired_queue.run_planned(queued, plans, caller)
    costs.add_untold(records, reason="the queue ended before it", exit_code=CapacityError.exit_code)
    costs.upload_logs(records)
    costs.upload()
    code = int(QueueResult(records, fails_on_infrastructure=values.get("infra_failures") == "fail"))
    _publish(step, publication, records, code)
    step.state.update(done=not step.state.now.leases)
    return code


def leases_on_record(step: Step, environ: Mapping[str, str]) -> Sequence[str]:
    """Return the leases of a queue that have no proof, for a post without any state. Raises CvlError.

    The record has each lease before anything is created under it. Without a record, nothing is proved.
    """
    from cvl_ci.commands.queue.queue_record import QueueRecord
    from cvl_ci.wiring.queue import refuse_committed_record
    from cvl_ci.wiring.queue_runs import refuse_foreign

    refuse_committed_record(OUTPUTS, folder=Path.cwd())
    records = QueueRecord(OUTPUTS).read()
    if not records:
        raise NotProvedGone(
            f"Post has neither the state of its step nor the record of the queue in {OUTPUTS}.",
            money="Machines of the queue may still run, and are billed until their deadline.",
        )
    unproved = {
        one.lease for one in records.values() if one.lease and (one.state is JobState.RUNNING or not one.is_gone)
    }
    refuse_foreign(sorted(unproved), wiring.open_records(environ, step.reporter), owner=step.owner)
    return sorted(unproved)


def undo(
    step: Step,
    publication: StepPublication,
    releases: Mapping[str, Release],
    environ: Mapping[str, str],
    *,
    leases: Sequence[str],
    saved: StepState | None = None,
) -> int:
    """Publish the end of a queue whose step was cut off, after the proofs of its leases. Return post's exit code."""
    from cvl_ci.commands.queue.queue_record import QueueRecord
    from cvl_ci.wiring.queue import secrets_again

    queued: Queue | None = None
    with suppress(CvlError):  # main masked the record's words. A file that is gone must not hide the end of the queue.
        queued = _queue(step, environ, on_sandbox=False)[0]
        step.reporter.mask(*secrets_again(queued, Path.cwd(), environ))
    is_gone = {name: name in releases and releases[name].gone for name in leases}
    records: Mapping[str, JobRecord] = {}
    with suppress(CvlError):
        records = QueueRecord(OUTPUTS).read()
    costs = StepCosts(step, publication, queued=queued, outputs=OUTPUTS)
    dollars = costs.add_released(releases, saved, records=records) if saved is not None else {}
    costs.add_untold(
        {name: record for name, record in records.items() if record.state in OVER},
        reason="the step was cut off",
        exit_code=EXIT_CODES[Ending.CANCELLED],
    )
    costs.upload_logs(records)
    costs.upload()
    records = _with_costs({name: _after_proof(record, is_gone) for name, record in records.items()}, dollars)
    code = 0 if all(is_gone.values()) else NotProvedGone.exit_code
    _publish(step, publication, records, code or int(QueueResult(records)))
    for name in [name for name in leases if not is_gone[name]]:
        step.reporter.refused(f"A MACHINE MAY STILL BE RUNNING: cvl-ci down {name}")
    return code


def _with_costs(records: Mapping[str, JobRecord], dollars: Mapping[str, float]) -> Mapping[str, JobRecord]:
    """Add the cost of each lease that post released to its first job, less what its jobs have already told."""
    result = dict(records)
    for lease, usd in dollars.items():
        jobs = [name for name, record in records.items() if record.lease == lease]
        if jobs:
            rest = usd - sum(records[name].usd for name in jobs)
            result[jobs[0]] = replace(result[jobs[0]], usd=records[jobs[0]].usd + max(0.0, rest))
    return result


def _after_proof(record: JobRecord, is_gone: Mapping[str, bool]) -> JobRecord:
    if record.lease in is_gone:
        record = replace(record, is_gone=is_gone[record.lease])
    if record.state is JobState.RUNNING:
        return replace(record, state=JobState.CANCELLED, reason="the step was cut off")
    return record


class _Watcher:
    """The log of a queue: a line for each new state, and the lines of each job as one group at its end."""

    def __init__(self, step: Step, queued: Queue) -> None:
        self._step = step
        self._records = {job.id: JobRecord() for job in queued.jobs}
        self._lock = threading.RLock()

    def tell(self, text: str) -> None:
        with self._lock:
            self._step.reporter.progress(text)

    def lease(self, name: str, is_open: bool) -> None:
        """Save a lease for post before anything is created under it, and forget it after its proof."""
        with self._lock:
            rest = tuple(lease for lease in self._step.state.now.leases if lease != name)
            self._step.state.update(leases=(*rest, name) if is_open else rest)

    def changed(self, name: str, record: JobRecord) -> None:
        with self._lock:
            before, self._records[name] = self._records[name], record
            if record.state is before.state:
                return
            note = queue_text.note(record)
            line = f"{name} {record.state.value}{f': {note}' if note else ''}"
            log = Path(f"{record.folder}.log") if record.folder and not record.is_reused else None
            if record.state in OVER and log is not None and log.is_file():
                self._group(line, log)
            else:
                self._step.reporter.show(line)

    def _group(self, title: str, log: Path) -> None:
        reporter = self._step.reporter
        reporter.close()
        reporter.commands.group(self._step.masks.hide(title))
        for line in _lines(log):
            reporter.show_job_line(line)
        reporter.close()
        reporter.commands.end_group()


def _lines(log: Path) -> Iterator[str]:
    with suppress(OSError), log.open(encoding="utf-8", errors="replace", newline="") as file:
        for line in file:
            yield line.rstrip("\n")


def _queue(step: Step, environ: Mapping[str, str], *, on_sandbox: bool) -> tuple[Queue, Mapping[str, object]]:
    """Return the queue and the verb's own inputs. Raises RequestError with all mistakes."""
    from cvl_ci.inputs import action_variables, matrix_reader
    from cvl_ci.inputs.option import EntryPoint
    from cvl_ci.inputs.table import run_options
    from cvl_ci.model.location import SANDBOX
    from cvl_ci.wiring import queue as wired_queue

    values, mistakes = matrix_reader.read(environ, "queue")
    mistakes = [*step.inputs.mistakes, *mistakes]
    if not values.get("queue"):
        mistakes.append(InputProblem(field="queue", value="", problem="is missing: name the file with the jobs"))
    if mistakes:
        raise RequestError(mistakes)
    overrides: dict[str, object] = {
        option.name: text
        for option in run_options(EntryPoint.ACTION)
        if (text := action_variables.value(environ, option.name)) not in {"", option.action_default}
    }
    if on_sandbox:
        overrides["cloud"] = SANDBOX
    file = _file(values)
    queued = (
        wired_queue.read(Path(file), overrides=overrides)
        if file
        else wired_queue.of_text(str(values["queue"]), overrides=overrides)
    )
    limits = {name: values[name] for name in ("max_parallel", "budget") if values.get(name)}
    return replace(queued, **limits), values


def _file(values: Mapping[str, object]) -> str:
    """Return the path of the queue's file; empty: the input holds the jobs themselves."""
    text = str(values["queue"])
    return "" if text.lstrip().startswith("{") else text


def _secrets(plans: Mapping[str, RunPlan]) -> list[str]:
    from cvl_ci.result.secret_names import secrets_of

    return [secret for plan in plans.values() for secret in secrets_of(plan.variables)]


def _sources(plans: Mapping[str, RunPlan], sources_of: Callable[[RunPlan], Iterable[str]]) -> list[str]:
    return [source for plan in plans.values() for source in sources_of(plan)]


def _publish(step: Step, publication: StepPublication, records: Mapping[str, JobRecord], code: int) -> None:
    """Write the table to the log, the step's page and one comment, and set the outputs."""
    from cvl_ci.result import outputs
    from cvl_ci.result.report import reap_page

    reporter, title = step.reporter, queue_text.summary(records)
    table = step.masks.hide("\n".join(queue_text.table(records)))
    reporter.show(table)
    if code:
        reporter.refused(title)
    usd = sum(record.usd for record in records.values() if not record.is_reused) if records else None  # unknown
    # Without the record, post knows its leases alone: its exit code then says whether all are proved gone.
    proved = code != NotProvedGone.exit_code and all(record.is_gone for record in records.values())
    ending = "succeeded" if not code else "cancelled" if code == 130 else "failed"
    values = outputs.reaped(ending, title, exit_code=code, proved=proved, usd=usd)
    publication.set_outputs({**values, "outputs_dir": str(OUTPUTS)})
    with suppress(OSError):
        reporter.commands.summary(lambda room: reap_page(title, "", table, room=room))
        give_to_owner(OUTPUTS.parent)
    _comment(step, title, table, is_red=bool(code))


def _comment(step: Step, title: str, table: str, *, is_red: bool) -> None:
    """Write one comment of the queue. With `comment: failure`, a success only replaces an older failure."""
    from cvl_ci.github.pr.report_comment import ReportComment
    from cvl_ci.local.clock import SystemClock
    from cvl_ci.result.report import COMMENT_BYTES, reap_page

    wish, reporter = step.inputs.publication.comment, step.reporter
    token = step.github_token
    if wish == "never" or not token:
        return
    say = reporter.warning if wish == "always" else reporter.progress
    group = f"queue {step.inputs.publication.comment_group}"
    comment = ReportComment(context=step.context, group=group, token=token, clock=SystemClock(), say=say)
    head = f"{comment.head}\n"
    try:
        page = reap_page(title, "", table, room=COMMENT_BYTES - len(head.encode()))
        comment.put(head + page, only_instead=wish == "failure" and not is_red)
    except Exception as error:  # noqa: BLE001  no comment turns a green queue red
        reporter.warning(f"The comment could not be written: {type(error).__name__}: {error}")
