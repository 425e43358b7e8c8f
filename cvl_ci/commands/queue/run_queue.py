"""Run a queue: each job when its needs are over, several at a time. A killed queue resumes where its record ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvl_ci.commands.queue import fingerprint as fingerprints
from cvl_ci.commands.queue import former_leases
from cvl_ci.commands.queue import machines as queue_machines
from cvl_ci.commands.queue.job_end import record_of_end
from cvl_ci.commands.queue.machines import MachineJobs, QueuedTurn, QueueMachines, SharedMachine
from cvl_ci.commands.queue.queue_ports import QueuePorts
from cvl_ci.commands.queue.schedule import Schedule
from cvl_ci.errors import CapacityError, CvlError, NotProvedGone, explain_while_running
from cvl_ci.model.limits import Limits
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.queue import JobRecord, JobState, Queue, RetryCause
from cvl_ci.model.staged_files import StagedFile
from cvl_ci.result.text import accounted_for

INPUTS_FOLDER = "inputs"
"""The folder below a job's own that gets the files of earlier jobs."""
POLL_SECONDS = 0.5
"""How often the queue looks for Ctrl-C while jobs run."""


@dataclass(kw_only=True)
class QueueRun:
    """One execution. Only the caller's thread touches schedule and record; the jobs' threads leave their ends."""

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
    """The thread of each job, or of its machine."""
    machines: QueueMachines
    has_news: threading.Event = field(default_factory=threading.Event)
    is_cancelled: bool = False

    def carry_out(self) -> Mapping[str, JobRecord]:
        """Run until each job is over. KeyboardInterrupt ends all leases at once, and waits for their proofs.

        Any other error of this thread ends them too. Raises NotProvedGone if a proof is missing then.
        """
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
                    for machine in self.machines.by_key.values():
                        if not machine.has_begun:
                            machine.end = ()

    def _stop_all(self) -> None:
        """Stop the runs and wait for their ends. A further Ctrl-C does not end the wait: it would orphan machines."""
        is_stopped = False
        while not is_stopped or any(thread.is_alive() for thread in self.threads.values()):
            try:
                if not is_stopped:
                    self.ports.runs.stop()
                    for machine in self.machines.by_key.values():
                        machine.jobs.close()  # a machine that misses its stop waits for no further job
                    is_stopped = True
                for thread in self.threads.values():
                    if thread.ident is not None:
                        thread.join()
            except KeyboardInterrupt:
                continue

    def _unproved(self) -> list[str]:
        """Return the leases of this queue whose ends brought no proof."""
        begun = [machine for machine in self.machines.by_key.values() if machine.has_begun]
        leases = [machine.lease for machine in begun if not machine.is_proved]
        shared = {machine.lease for machine in begun}
        records = [one for one in self.schedule.records.values() if one.lease not in shared]
        leases += [one.lease for one in records if not one.is_gone and not one.is_reused]
        for name in self.schedule.running:
            if self.schedule.records[name].lease in shared:
                continue
            now = self.schedule.records[name]
            thread = self.threads.get(name)
            if thread is None or thread.ident is None:
                continue  # its run never began
            folder = self.ports.runs.folder(name, self._attempt(name))
            if name not in self.ends or not record_of_end(self.ends[name], now, folder=folder)[0].is_gone:
                leases.append(now.lease)
        return list(dict.fromkeys(leases))

    def _step(self) -> bool:
        while any(self._takes_earlier_result(name) or self._repeats_needs(name) for name in self.schedule.ready()):
            continue  # its dependents may have earlier results too
        for name in self.schedule.startable(closing=self.machines.closing):
            self._start(name)
        self._record()
        for key, machine in self.machines.by_key.items():
            if not self.schedule.jobs_of(key):
                machine.jobs.close()
        if self.schedule.is_over and not self.machines.by_key:
            return True
        if not self._has_ends():
            self.has_news.wait(POLL_SECONDS)
            self.has_news.clear()
        for key in self.machines.over:
            self._settle(key)
        for name in self.schedule.running:
            if name in self.ends:
                self._finish(name, self.ends[name])
                self.ends.pop(name)
        return False

    def _takes_earlier_result(self, name: str) -> bool:
        """Finish a ready job without a run: its result is there, or its files cannot be read."""
        if name not in self.ready:
            try:
                plan = self._with_inputs(name)
                before = [self.schedule.records[need].fingerprint for need in self.machines.before(name)]
                self.ready[name] = (plan, fingerprints.fingerprint(plan, before=before))
            except (CvlError, OSError) as error:
                self._changed(name, JobRecord(state=JobState.FAILED, reason=str(error), exit_code=CvlError.exit_code))
                return True
            earlier = self.earlier.get(name) if self.machines.takes_earlier_result(name) else None
            if earlier is not None and self._is_finished(earlier, self.ready[name][1]):
                self.schedule.reuse(name, earlier)
                self._tell(name)
                return True
        return False

    def _start(self, name: str) -> None:
        plan, digest = self.ready[name]
        earlier = self.earlier.get(name)
        self.threads.pop(name, None)
        self.ends.pop(name, None)
        attempt = (earlier.attempts if earlier else 0) + self.schedule.records[name].attempts + 1
        key, machine = self.machines.key(name), self.machines.of(name)
        if machine is not None and not machine.jobs.claim():
            return  # its time is up, and the next machine takes the job
        lease = machine.lease if machine is not None else self.ports.runs.lease(name, attempt)
        if key is not None and machine is None:
            self.schedule.open_machine(key)
        self.schedule.start(name, lease=lease, fingerprint=digest)
        self.machines.started(name)
        self._record()  # the lease is on disk before anything of it exists
        self._tell(name)
        if key is None:
            thread = threading.Thread(target=self._run, args=(name, attempt, plan), name=f"job {name}")
            self.threads[name] = thread
            thread.start()
            return
        turn = QueuedTurn(job=name, attempt=attempt, plan=plan)
        if machine is None:
            self._start_machine(key, turn, lease)
        else:
            self.threads[name] = self.threads[f"machine {key}"]
            machine.jobs.put(turn)

    def _start_machine(self, key: str, turn: QueuedTurn, lease: str) -> None:
        machine = SharedMachine(lease=lease, jobs=MachineJobs(turn))
        limits = queue_machines.limits(self.plans[name] for name in self.schedule.jobs_of(key))
        thread = threading.Thread(target=self._serve, args=(machine, limits), name=f"job {turn.job} of machine {key}")
        machine.thread = self.threads[turn.job] = self.threads[f"machine {key}"] = thread
        self.machines.by_key[key] = machine
        thread.start()

    def _serve(self, machine: SharedMachine, limits: Limits) -> None:
        try:
            machine.end = self.ports.runs.serve(machine.jobs, limits, on_end=self._turn_ended)
        except BaseException as error:  # noqa: BLE001  the queue's thread tells each end
            machine.end = error
        self.has_news.set()

    def _turn_ended(self, turn: QueuedTurn, outcome: Outcome) -> None:
        self.ends[turn.job] = outcome
        self.has_news.set()

    def _has_ends(self) -> bool:
        return bool(self.machines.over) or any(name in self.ends for name in self.schedule.running)

    def _settle(self, key: str) -> None:
        """Take the end of a machine: each job's share of the cost, and the proof. Jobs that it did not take go on."""
        machine = self.machines.by_key[key]
        running = [name for name in self.schedule.running if self.schedule.records[name].lease == machine.lease]
        settled: list[str] = []
        outcomes = machine.end if not isinstance(machine.end, BaseException) else ()
        for turn, outcome in outcomes or ():
            if turn.job in running:
                self.ends[turn.job] = outcome  # with the cost, which a told end lacks
            else:
                usd = outcome.cost.usd if outcome.cost and outcome.cost.billed else 0.0
                self.schedule.settle(turn.job, turn.attempt, usd=usd, is_gone=accounted_for(outcome))
                settled.append(turn.job)
        for name in running:
            if name not in self.ends:
                self.ends[name] = machine.end if isinstance(machine.end, BaseException) else KeyboardInterrupt()
        del self.machines.by_key[key]
        self.schedule.close_machine(key)
        for name in settled:
            self._tell(name)

    def _run(self, name: str, attempt: int, plan: RunPlan) -> None:
        try:
            self.ends[name] = self.ports.runs.run(name, attempt, plan)
        except BaseException as error:  # noqa: BLE001  the queue's thread tells each end
            self.ends[name] = error
        self.has_news.set()

    def _repeats_needs(self, name: str) -> bool:
        """Let the jobs run again whose files this one would find on a machine that is gone."""
        lost = self.machines.lost_needs(name, self.schedule.records)
        unproved = [need for need in lost if not self.schedule.records[need].is_gone]
        reason, code = "", CapacityError.exit_code
        if unproved:  # a repetition would overwrite the only record of the lease
            lease = self.schedule.records[unproved[0]].lease
            reason = f"the machine of {', '.join(unproved)} ended without proof: cvl-ci down {lease}"
            code = NotProvedGone.exit_code
        elif lost and not self.machines.can_repeat(name, lost):
            reason = f"the machine with the files of {', '.join(lost)} ended before it, several times"
        if reason:
            self._changed(name, JobRecord(state=JobState.NOT_RUN, reason=reason, exit_code=code))
            return True
        for need in lost:
            self.schedule.run_again(need)
            self.ready.pop(need, None)
            self._tell(need)
        if lost:
            self.ready.pop(name, None)
        return bool(lost)

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
        self._tell(name)

    def _tell(self, name: str) -> None:
        """Tell a job's state. A machine that its jobs still use causes no alarm."""
        record = self.schedule.records[name]
        is_in_use = self.machines.is_in_use(record.lease)
        self.ports.changed(name, replace(record, is_gone=record.is_gone or is_in_use))

    def _record(self) -> None:
        """Write all states, and tell the skipped jobs. A job that has not begun keeps the entry of an earlier queue."""
        now = self.schedule.records
        states = {name: one for name, one in now.items() if one.state is not JobState.WAITING or one.attempts}
        total = {
            name: replace(one, attempts=one.attempts + (self.earlier[name].attempts if name in self.earlier else 0))
            if not one.is_reused
            else one
            for name, one in states.items()
        }
        self.ports.record.write({**self.earlier, **total})
        while self.schedule.without_run:
            self._tell(self.schedule.without_run.pop(0))

    def _is_finished(self, earlier: JobRecord, digest: str) -> bool:
        if earlier.state is not JobState.SUCCEEDED or earlier.fingerprint != digest:
            return False
        return fingerprints.are_intact(Path(earlier.folder), earlier.digests)

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
    with ports.record.hold():
        earlier, former = former_leases.end(ports.record.read(), queued, prices=prices, ports=ports)
        schedule = Schedule(queued, prices=prices, former=former)
        machines = QueueMachines(queued)
        execution = QueueRun(
            queue=queued, plans=plans, schedule=schedule, ports=ports, machines=machines, earlier=earlier
        )
        return execution.carry_out()
