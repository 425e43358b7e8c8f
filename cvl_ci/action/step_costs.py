"""The costs of several runs that one step tells, as the history reads them: one artifact with a file for each run.

They are the jobs of a queue, and the leases that a sweep ended: their own step was lost, so no other step tells them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.action.saved_outcome import outcome_from
from cvl_ci.action.state import SavedJob, StepState
from cvl_ci.commands.publish import Files, PublishPorts, keep_costs, keep_logs, write_cost
from cvl_ci.errors import NotProvedGone
from cvl_ci.model.launch import Attempt
from cvl_ci.model.lease_name import is_lease
from cvl_ci.model.ledger import Cost, Ledger
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.outcome import EXIT_CODES, Ending, MachineResult, Outcome
from cvl_ci.model.queue import OVER, JobRecord, JobState
from cvl_ci.model.release import Release
from cvl_ci.model.resource import ResourceKind
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.result.benchmark.leg_file import LAST_LINES
from cvl_ci.result.first_errors import FirstErrors
from cvl_ci.result.matrix import source

if TYPE_CHECKING:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.step import Step
    from cvl_ci.commands.reap.reap import Reaped, Suspect
    from cvl_ci.model.launch import Spending
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.queue import Queue
    from cvl_ci.wiring.queue_runs import EndedJob


MOST_LOG_BYTES = 1 << 20
"""The end of a failed leg's log in which its error is searched."""
LONGEST_LINE = 4000
_ENDINGS = {
    JobState.SUCCEEDED: Ending.SUCCEEDED,
    JobState.FAILED: Ending.FAILED,
    JobState.SOFT_FAILED: Ending.FAILED,
}
"""The ends of jobs that ran. Those of the others depend on why they did not run."""


class StepCosts:
    """The cost files of one step, next to its saved state: neither a job nor a commit can write there."""

    def __init__(
        self, step: Step, publication: StepPublication, *, queued: Queue | None = None, outputs: Path | None = None
    ) -> None:
        """`queued`: the queue whose jobs the step runs. `outputs`: the folder with their logs."""
        self._step, self._publication = step, publication
        self._folder = step.state.costs
        self._lock = threading.RLock()
        self._legs = {job.id: job.leg for job in queued.jobs if job.leg} if queued is not None else {}
        self._outputs = outputs
        self.works: Mapping[str, WorkIdentity] = {}
        """The work of each job, once the queue is planned."""

    def note(self, job: str, plan: RunPlan, lease: str, spending: Spending) -> None:
        """Save the requests of a lease, from which post computes the cost if main is killed."""
        saved = SavedJob(job=job, work=plan.identity, spending=spending)
        with self._lock:
            self._step.state.update(jobs={**self._step.state.now.jobs, lease: saved})

    def add(self, jobs: Sequence[EndedJob]) -> None:
        """Write the cost of each job of a machine that was released."""
        with self._lock:
            for one in _distinct(jobs):
                files = self._files(one.lease, leg=one.job)
                if one.outcome.ending is not Ending.SUCCEEDED:
                    first_error, last_lines = self._evidence(one)
                    files = replace(files, facts=replace(files.facts, first_error=first_error, last_lines=last_lines))
                write_cost(one.outcome, files, ports=self._ports())

    def add_untold(self, records: Mapping[str, JobRecord], *, reason: str, exit_code: int) -> None:
        """Write the end of each leg without a summary: a report would otherwise miss it.

        `records`: the ends of the jobs, as far as they have one; the others never started, with this reason and code.
        """
        with self._lock:
            known_legs = self._legs_with_summary()
            for job, leg in self._legs.items():
                record = records.get(job, JobRecord())
                lease = self._lease(job)
                if leg in known_legs or record.is_reused:
                    continue
                code = _code(record, otherwise=exit_code)
                otherwise = Ending.CANCELLED if code == EXIT_CODES[Ending.CANCELLED] else Ending.NEVER_STARTED
                outcome = Outcome(
                    ending=_ENDINGS.get(record.state, otherwise),
                    reason=record.reason or reason,
                    exit_code=code,
                    work=self.works.get(job) or WorkIdentity(title=leg),
                    machines=MachineResult(cluster=lease),
                )
                write_cost(self._step.masks.cleaned(outcome), self._files(lease, leg=job), ports=self._ports())

    def _legs_with_summary(self) -> set[str]:
        """Return the legs that have a summary in the folder."""
        names = set()
        for path in self._folder.glob("*.json"):
            with suppress(OSError, ValueError):
                names.add(source.read(path.name, path.read_bytes()).name)
        return names

    def _lease(self, job: str) -> str:
        """Return the name of a run of its own for a leg that has none."""
        owner = self._step.owner
        return replace(owner, leg="/".join(filter(None, [owner.leg, job, "untold"]))).name

    def _evidence(self, job_end: EndedJob) -> tuple[str, tuple[str, ...]]:
        """Return the line that names the job's error, and its last lines, from its log."""
        errors = FirstErrors(tail_lines=LAST_LINES)
        with suppress(OSError):
            if self._outputs is not None:
                for line in _last_lines(self._outputs / job_end.job / f"{job_end.lease}.log"):
                    errors.line(line)
        return errors.first_error(), errors.tail

    def upload_logs(self, records: Mapping[str, JobRecord]) -> None:
        """Upload the logs of the jobs as one artifact, once, before the costs that name it.

        `records`: the ends of the jobs. The log of a job that an earlier queue ran is in that queue's artifact.
        """
        if self._outputs is None:
            return
        logs = [Path(f"{one.folder}.log") for one in records.values() if one.folder and not one.is_reused]
        own = [log for log in logs if log.is_relative_to(self._outputs) and ".." not in log.parts and log.is_file()]
        keep_logs(
            root=self._outputs,
            paths=sorted(log.relative_to(self._outputs).as_posix() for log in own),
            costs=self._folder,
            files=self._files(""),
            ports=self._ports(),
        )

    def upload(self) -> None:
        """Upload all costs of this step as one artifact, once."""
        keep_costs(folder=self._folder, files=self._files(""), ports=self._ports())

    def add_released(
        self, releases: Mapping[str, Release], saved: StepState, *, records: Mapping[str, JobRecord] | None = None
    ) -> Mapping[str, float]:
        """Write the cost of the leases that post released. Return their dollars.

        `records`: the ends of the jobs before. The job that was cut off gets the cost of its machine. If all jobs of a
        machine had ended, the first one gets it, with its own end.
        """
        dollars = {}
        for lease, release in releases.items():
            job = saved.jobs.get(lease)
            if job is None:
                continue  # nothing was requested under it
            state = StepState(lease=lease, work=job.work, spending=job.spending)
            outcome = outcome_from(state, release, name=lease, folder=self._folder / lease)
            dollars[lease] = outcome.cost.usd if outcome.cost and outcome.cost.billed else 0.0
            name, outcome = _cut_off(job.job, outcome, lease=lease, records=records or {})
            write_cost(self._step.masks.cleaned(outcome), self._files(lease, leg=name), ports=self._ports())
        return dollars

    def add_reaped(self, reaped: Reaped) -> None:
        """Write the cost of each lease that a sweep ended."""
        for suspect in reaped.due:
            if suspect.usd is not None and is_lease(suspect.lease):
                outcome = self._step.masks.cleaned(_of_suspect(suspect, reaped))
                files = self._files(suspect.lease)
                files = replace(files, facts=replace(files.facts, is_sweep=True))
                write_cost(outcome, files, ports=self._ports())

    def _files(self, lease: str, *, leg: str = "") -> Files:
        files = self._publication.files(uploaded={})
        words = self._legs.get(leg) or " ".join(filter(None, [files.facts.leg, leg]))
        facts = replace(files.facts, leg=words, first_error="", last_lines=())
        return replace(files, folder=self._folder / lease, facts=facts)

    def _ports(self) -> PublishPorts:
        return self._publication.ports()


def _cut_off(first: str, outcome: Outcome, *, lease: str, records: Mapping[str, JobRecord]) -> tuple[str, Outcome]:
    """Return the job that a killed step cut off on this machine, with its outcome. `first`: the machine's first job."""
    jobs = {name: record for name, record in records.items() if record.lease == lease}
    running = [name for name, record in jobs.items() if record.state not in OVER]
    if running and running[0] != first:
        return running[0], replace(outcome, work=WorkIdentity(title=running[0]))
    record = None if running else jobs.get(first)
    if record is None:
        return first, outcome
    is_proved = outcome.exit_code != NotProvedGone.exit_code
    code = _code(record, otherwise=outcome.exit_code) if is_proved else outcome.exit_code
    ending = _ENDINGS.get(record.state, outcome.ending)
    return first, replace(outcome, ending=ending, reason=record.reason, exit_code=code)


def _code(record: JobRecord, *, otherwise: int) -> int:
    """Return the exit code of a job; that of its end does not depend on whether it is recorded."""
    if record.state is JobState.SUCCEEDED:
        return 0
    return otherwise if record.exit_code is None else record.exit_code


def _distinct(jobs: Sequence[EndedJob]) -> Sequence[EndedJob]:
    """Return the jobs of a machine, each with a run of its own name. Without proof, the first one stands for all.

    Of runs with one name, a history counts one alone. Only the machine's own name can end it.
    """
    if not jobs or all(one.outcome.release is not None and one.outcome.release.gone for one in jobs):
        return [replace(one, outcome=_named(one.outcome, one.lease)) for one in jobs]
    costs = [one.outcome.cost for one in jobs if one.outcome.cost is not None]
    if not costs:
        return jobs[:1]
    entries = tuple(entry for cost in costs for entry in cost.ledger.entries)
    sum_of_all = replace(costs[0], ledger=Ledger(entries=entries))
    return [replace(jobs[0], outcome=replace(jobs[0].outcome, cost=sum_of_all))]


def _of_suspect(suspect: Suspect, reaped: Reaped) -> Outcome:
    """Return the end of a run that only its leftovers tell. An earlier summary of the run may have told another end."""
    ids = {resource.id for resource in reaped.remaining}
    is_gone = not any(resource.id in ids for resource in suspect.resources)
    machine = next((one for one in suspect.resources if one.kind is ResourceKind.MACHINE), suspect.resources[0])
    attempt = Attempt(
        cloud=machine.provider,
        region=machine.region,
        zone=None,
        instance_type=machine.instance_type,
        spot=machine.pricing.spot,
        hourly_usd=0.0,
    )
    return Outcome(
        ending=Ending.CANCELLED,
        reason=f"Its run did not take its machines down ({suspect.why}). A sweep did.",
        exit_code=EXIT_CODES[Ending.CANCELLED] if is_gone else NotProvedGone.exit_code,
        work=WorkIdentity(title=suspect.lease),
        machines=MachineResult(cluster=suspect.lease, attempts=(attempt,)),
        cost=Cost(ledger=suspect.ledger, hourly_usd=0.0, billed=machine.provider != SANDBOX),
        release=Release(gone=is_gone, at=reaped.asked_at),
    )


def _named(outcome: Outcome, name: str) -> Outcome:
    return replace(outcome, machines=replace(outcome.machines, cluster=name))


def _last_lines(log: Path) -> Sequence[str]:
    """Return the lines at the end of a log. Raises OSError, also for a link in its place."""
    with open(os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        start = max(0, os.fstat(file.fileno()).st_size - MOST_LOG_BYTES)
        file.seek(start)
        text = file.read(MOST_LOG_BYTES).decode("utf-8", errors="replace")
    lines = text.split("\n")
    return [line[:LONGEST_LINE] for line in (lines[1:] if start else lines) if line.strip()]
