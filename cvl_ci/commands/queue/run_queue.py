"""Run a queue: each job when its needs are over, several at a time. A killed queue resumes where its record ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from cvl_ci.commands.queue import fingerprint as contents
from cvl_ci.commands.queue.manifest import Manifest
from cvl_ci.commands.queue.schedule import Schedule
from cvl_ci.errors import CvlError, NotProvedGone, explain_while_running
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.queue import JobRecord, JobState, Queue, RetryCause
from cvl_ci.model.release import Release
from cvl_ci.model.staged_files import StagedFile
from cvl_ci.result.text import accounted_for

INPUTS_FOLDER = "inputs"
"""The folder below a job's own that gets the files of earlier jobs."""
POLL_SECONDS = 0.5
"""How often the queue looks for Ctrl-C while jobs run."""


class JobRuns(Protocol):
    """The runs of jobs, each under a lease of its own."""

    def lease(self, job: str, attempt: int) -> str:
        """Return the name of the lease of this attempt. A later process can compute it again."""

    def folder(self, job: str, attempt: int) -> Path:
        """Return the folder for the files of this attempt, which no other attempt writes."""

    def run(self, job: str, attempt: int, plan: RunPlan) -> Outcome:
        """Run a job's plan in this thread. Raises CvlError."""

    def stop(self) -> None:
        """Stop all runs, each with the proof that its machine is gone. The runs end by themselves."""

    def end(self, leases: list[str]) -> Mapping[str, Release]:
        """End leases of an earlier queue with proof. Raises CvlError."""


@dataclass(frozen=True, kw_only=True)
class QueuePorts:
    """Ports that a queue needs. `changed` hears of each new state, with the reason."""

    runs: JobRuns
    manifest: Manifest
    changed: Callable[[str, JobRecord], None]


@dataclass(kw_only=True)
class QueueRun:
    """One execution. Only the caller's thread touches schedule and manifest; the jobs' threads leave their ends."""

    queue: Queue
    plans: Mapping[str, RunPlan]
    schedule: Schedule
    ports: QueuePorts
    earlier: Mapping[str, JobRecord] = field(default_factory=dict)
    ends: dict[str, Outcome | BaseException] = field(default_factory=dict)
    """The ends of jobs that still count as running. An interrupted step leaves them here for the next step."""
    ready: dict[str, tuple[RunPlan, str]] = field(default_factory=dict)
    """The complete plan and the fingerprint of each job whose needs are over."""
    threads: dict[str, threading.Thread] = field(default_factory=dict)
    has_news: threading.Event = field(default_factory=threading.Event)
    is_cancelled: bool = False

    def carry_out(self) -> Mapping[str, JobRecord]:
        """Run until each job is over. KeyboardInterrupt ends all leases at once, and waits for their proofs.

        Any other error of this thread ends them too. Raises NotProvedGone if a proof is missing then.
        """
        self._end_leases_of_a_killed_queue()
        try:
            return self._carry_out()
        except BaseException as error:
            self._stop_all()
            unproved = self._unproved()
            if not unproved or not isinstance(error, Exception):
                raise
            raise NotProvedGone(
                f"The queue broke: {explain_while_running(error)}",
                money="Machines of its jobs may still run, and are billed.",
                next_step=f"End them with proof: cvl-ci down {' '.join(unproved)}",
            ) from error

    def _carry_out(self) -> Mapping[str, JobRecord]:
        while True:
            try:
                if self._step():
                    return self.schedule.records
            except KeyboardInterrupt:
                if not self.is_cancelled:
                    self.is_cancelled = True
                    self.schedule.cancel()
                    self.ports.runs.stop()
                    for name in self.schedule.running:
                        thread = self.threads.get(name)
                        if thread is None or thread.ident is None:  # the interrupt came before its thread
                            self.ends[name] = KeyboardInterrupt()

    def _stop_all(self) -> None:
        """Stop the runs and wait for their ends. A further Ctrl-C does not end the wait: it would orphan machines."""
        is_stopped = False
        while not is_stopped or any(thread.is_alive() for thread in self.threads.values()):
            try:
                if not is_stopped:
                    self.ports.runs.stop()
                    is_stopped = True
                for thread in self.threads.values():
                    if thread.ident is not None:
                        thread.join()
            except KeyboardInterrupt:
                continue

    def _unproved(self) -> list[str]:
        """Return the leases of this queue whose ends brought no proof."""
        leases = [one.lease for one in self.schedule.records.values() if not one.is_gone and not one.is_reused]
        for name in self.schedule.running:
            now = self.schedule.records[name]
            thread = self.threads.get(name)
            if thread is None or thread.ident is None:
                continue  # its run never began
            folder = self.ports.runs.folder(name, self._attempt(name))
            if name not in self.ends or not record_of_end(self.ends[name], now, folder=folder)[0].is_gone:
                leases.append(now.lease)
        return leases

    def _step(self) -> bool:
        while any(self._takes_earlier_result(name) for name in self.schedule.ready()):
            continue  # its dependents may have earlier results too
        for name in self.schedule.startable():
            self._start(name)
        self._record()
        if self.schedule.is_over:
            return True
        if not any(name in self.ends for name in self.schedule.running):
            self.has_news.wait(POLL_SECONDS)
            self.has_news.clear()
        for name in self.schedule.running:
            if name in self.ends:
                self._finish(name, self.ends[name])
                self.ends.pop(name)
        return False

    def _end_leases_of_a_killed_queue(self) -> None:
        """End the leases of jobs that were under way, and those without a proof. Raises NotProvedGone."""
        leases = {
            name: one.lease
            for name, one in self.earlier.items()
            if one.lease and (one.state is JobState.RUNNING or not one.is_gone)
        }
        if leases:
            self.ports.runs.end(list(leases.values()))
        self.earlier = {
            name: _with_proof(one) if name in leases else one  # the provider has just shown it
            for name, one in self.earlier.items()
        }

    def _takes_earlier_result(self, name: str) -> bool:
        """Finish a ready job without a run: its result is there, or its files cannot be read."""
        if name not in self.ready:
            try:
                plan = self._with_inputs(name)
                self.ready[name] = (plan, contents.fingerprint(plan))
            except (CvlError, OSError) as error:
                self._changed(name, JobRecord(state=JobState.FAILED, reason=str(error), exit_code=CvlError.exit_code))
                return True
            earlier = self.earlier.get(name)
            if earlier is not None and self._is_finished(earlier, self.ready[name][1]):
                self.schedule.reuse(name, earlier)
                self.ports.changed(name, self.schedule.records[name])
                return True
        return False

    def _start(self, name: str) -> None:
        plan, digest = self.ready[name]
        earlier = self.earlier.get(name)
        self.threads.pop(name, None)
        self.ends.pop(name, None)
        attempt = (earlier.attempts if earlier else 0) + self.schedule.records[name].attempts + 1
        self.schedule.start(name, lease=self.ports.runs.lease(name, attempt), fingerprint=digest)
        self._record()  # the lease is on disk before anything of it exists
        self.ports.changed(name, self.schedule.records[name])
        thread = threading.Thread(target=self._run, args=(name, attempt, plan), name=f"job {name}")
        self.threads[name] = thread
        thread.start()

    def _run(self, name: str, attempt: int, plan: RunPlan) -> None:
        try:
            self.ends[name] = self.ports.runs.run(name, attempt, plan)
        except BaseException as error:  # noqa: BLE001  the queue's thread tells each end
            self.ends[name] = error
        self.has_news.set()

    def _finish(self, name: str, end: Outcome | BaseException) -> None:
        now = self.schedule.records[name]
        record, cause = record_of_end(end, now, folder=self.ports.runs.folder(name, self._attempt(name)))
        if self.is_cancelled:
            cause = None
        self._changed(name, record, cause)

    def _attempt(self, name: str) -> int:
        earlier = self.earlier.get(name)
        return (earlier.attempts if earlier else 0) + self.schedule.records[name].attempts

    def _changed(self, name: str, record: JobRecord, cause: RetryCause | None = None) -> None:
        self.schedule.finish(name, record, cause=cause)
        self._record()
        self.ports.changed(name, self.schedule.records[name])

    def _record(self) -> None:
        """Write all states. A job that has not begun keeps the entry of an earlier queue."""
        now = self.schedule.records
        states = {name: one for name, one in now.items() if one.state is not JobState.WAITING or one.attempts}
        total = {
            name: replace(one, attempts=one.attempts + (self.earlier[name].attempts if name in self.earlier else 0))
            if not one.is_reused
            else one
            for name, one in states.items()
        }
        self.ports.manifest.write({**self.earlier, **total})

    def _is_finished(self, earlier: JobRecord, digest: str) -> bool:
        if earlier.state is not JobState.SUCCEEDED or earlier.fingerprint != digest:
            return False
        return contents.are_intact(Path(earlier.folder), earlier.digests)

    def _with_inputs(self, name: str) -> RunPlan:
        """Add the files of earlier jobs to a plan, each below `inputs/ID` of its folder."""
        plan = self.plans[name]
        job = next(job for job in self.queue.jobs if job.id == name)
        added = []
        for other in job.inputs_from:
            record = self.schedule.records[other]
            for path in sorted(record.digests):
                source = (Path(record.folder) / path).resolve()
                parts = [part for part in (plan.work.directory, INPUTS_FOLDER, other, path) if part != "."]
                added.append(StagedFile(path="/".join(parts), source=str(source), bytes=source.stat().st_size))
        if not added:
            return plan
        return replace(plan, files=replace(plan.files, staged=(*plan.files.staged, *added)))


def run(
    queued: Queue, plans: Mapping[str, RunPlan], *, prices: Mapping[str, float | None], ports: QueuePorts
) -> Mapping[str, JobRecord]:
    """Run a queue whose plans are made. Return each job's record. Raises CvlError where another queue runs."""
    with ports.manifest.hold():
        earlier = ports.manifest.read()
        schedule = Schedule(queued, prices=prices)
        return QueueRun(queue=queued, plans=plans, schedule=schedule, ports=ports, earlier=earlier).carry_out()


def _with_proof(record: JobRecord) -> JobRecord:
    """Return the record of an earlier job after the proof that its lease ended."""
    state = JobState.CANCELLED if record.state is JobState.RUNNING else record.state
    return replace(record, state=state, is_gone=True)


def record_of_end(end: Outcome | BaseException, now: JobRecord, *, folder: Path) -> tuple[JobRecord, RetryCause | None]:
    """Return the record of a job's end, and the cause for which it may start again."""
    now = replace(now, usd=0.0, seconds=0.0)
    if isinstance(end, KeyboardInterrupt):
        return replace(now, state=JobState.CANCELLED, reason="stopped before it began"), None
    if isinstance(end, CvlError) and not isinstance(end, NotProvedGone):
        return _of_code(now, end.exit_code, explain_while_running(end))
    if isinstance(end, BaseException):  # a mistake of cvl-ci may have lost the proof of the release
        reason = explain_while_running(end) if isinstance(end, Exception) else repr(end)
        code = end.exit_code if isinstance(end, CvlError) else CvlError.exit_code
        return replace(now, state=JobState.FAILED, exit_code=code, reason=reason, is_gone=False), None
    files = tuple(file.path for file in end.files.fetched)
    record = replace(
        now,
        state=_STATES.get(end.ending, JobState.FAILED),
        reason=end.reason,
        exit_code=end.exit_code,
        folder=str(folder),
        usd=end.cost.usd if end.cost and end.cost.billed else 0.0,
        seconds=end.timing.duration_seconds,
        is_gone=accounted_for(end),
    )
    try:
        record = replace(record, digests=contents.digests(folder, files))
    except OSError as error:
        if record.state is JobState.SUCCEEDED:  # its dependents would lack the files
            reason = f"its files cannot be read: {error}"
            record = replace(record, state=JobState.FAILED, exit_code=CvlError.exit_code, reason=reason)
    if end.ending is Ending.NEVER_STARTED:
        return _of_code(record, end.exit_code, end.reason)
    return record, RetryCause.PREEMPTED if end.ending is Ending.PREEMPTED and record.is_gone else None


_STATES = {
    Ending.SUCCEEDED: JobState.SUCCEEDED,
    Ending.PREEMPTED: JobState.NOT_RUN,
    Ending.UNFIT: JobState.NOT_RUN,
    Ending.STORAGE_FAILED: JobState.NOT_RUN,
    Ending.CANCELLED: JobState.CANCELLED,
}
_CAPACITY, _REQUEST, _BUDGET = 75, 64, 78


def _of_code(record: JobRecord, code: int, reason: str) -> tuple[JobRecord, RetryCause | None]:
    """Return the record of a job without a machine. A wrong request and a small budget are the user's own."""
    state = JobState.FAILED if code in {_REQUEST, _BUDGET} else JobState.NOT_RUN
    cause = RetryCause.CAPACITY if code == _CAPACITY and record.is_gone else None
    return replace(record, state=state, exit_code=code, reason=reason), cause
