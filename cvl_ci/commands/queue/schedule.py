"""Decide which jobs of a queue may start. Pure: it starts nothing, and learns from its caller how jobs ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from cvl_ci.errors import BudgetError
from cvl_ci.model.queue import GOOD, OVER, JobRecord, JobState, Queue, QueueJob, RetryCause
from cvl_ci.result.units import dollars


@dataclass(frozen=True, kw_only=True)
class FormerCost:
    """The dollars of machines that a killed queue left running.

    `by_job`: of the jobs that were under way on them. `unassigned_usd`: they count against the budget alone.
    """

    by_job: Mapping[str, float] = field(default_factory=dict)
    unassigned_usd: float = 0.0


class Schedule:
    """The states of a queue's jobs. `prices`: the most that each job can cost, in US dollars; None: unknown."""

    def __init__(self, queue: Queue, *, prices: Mapping[str, float | None], former: FormerCost | None = None) -> None:
        former = former or FormerCost()
        self._queue = queue
        self._jobs = {job.id: job for job in queue.jobs}
        self._prices = prices
        self._records = {job.id: JobRecord(usd=former.by_job.get(job.id, 0.0)) for job in queue.jobs}
        self._unassigned_usd = former.unassigned_usd
        self._machines: dict[str, float] = {}
        """The shared machines that exist, with the dollars that each may cost."""
        self._settled: set[tuple[str, int]] = set()
        self.without_run: list[str] = []
        """The jobs that were skipped or cancelled before they began. The caller takes out those that it tells."""

    @property
    def records(self) -> Mapping[str, JobRecord]:
        return dict(self._records)

    @property
    def is_over(self) -> bool:
        return all(record.state in OVER for record in self._records.values())

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(name for name, record in self._records.items() if record.state is JobState.RUNNING)

    @property
    def cost(self) -> float:
        """Return the cost of this queue's runs, and of machines that it ended. A reused job cost nothing now."""
        return self._unassigned_usd + sum(one.usd for one in self._records.values() if not one.is_reused)

    def ready(self) -> tuple[str, ...]:
        """Skip the jobs that can no longer run, and return those whose needs are over, in the order of the file."""
        self._skip()
        return tuple(job.id for job in self._queue.jobs if self._is_ready(job))

    def startable(self, *, closing: Collection[str] = ()) -> tuple[str, ...]:
        """Return the ready jobs that places, groups and budget let start now. `closing`: machines that take no job."""
        chosen: list[QueueJob] = []
        groups = {group for name in self.running for group in _groups(self._jobs[name])}
        reserved = sum(self._price(name) for name in self.running if self._jobs[name].machine is None)
        reserved += sum(self._machines.values())
        for job in self._queue.jobs:
            if len(chosen) + len(self.running) >= self._queue.max_parallel:
                break
            if not self._is_ready(job) or job.machine in closing or not groups.isdisjoint(_groups(job)):
                continue
            may_change = bool(chosen) or any(key in closing or not self.jobs_of(key) for key in self._machines)
            if not self._is_paid(job, reserved, may_change=may_change):
                continue
            chosen.append(job)
            reserved += self._reservation(job)
            groups |= _groups(job)
        return tuple(job.id for job in chosen)

    def jobs_of(self, machine: str) -> tuple[str, ...]:
        """Return the jobs of a shared machine that are not over."""
        return tuple(
            job.id for job in self._queue.jobs if job.machine == machine and self._records[job.id].state not in OVER
        )

    def open_machine(self, machine: str) -> None:
        """Reserve the most that a shared machine can cost, from before it exists until its end is known."""
        self._machines[machine] = sum(map(self._price, self.jobs_of(machine)))

    def close_machine(self, machine: str) -> None:
        self._machines.pop(machine, None)

    def settle(self, name: str, attempt: int, *, usd: float, is_gone: bool) -> None:
        """Take a job's share of the cost and the proof, which come with its machine's end. A repetition is safe."""
        record = self._records[name]
        if (name, attempt) not in self._settled:
            self._records[name] = replace(record, usd=record.usd + usd, is_gone=is_gone)
            self._settled.add((name, attempt))

    def start(self, name: str, *, lease: str = "", fingerprint: str = "") -> None:
        record = self._records[name]
        self._records[name] = replace(
            record,
            state=JobState.RUNNING,
            lease=lease,
            fingerprint=fingerprint,
            attempts=record.attempts + 1,
            reason="",
        )

    def finish(self, name: str, record: JobRecord, *, cause: RetryCause | None = None) -> bool:
        """Take the end of a job. Return whether it waits for another attempt. `cause`: why infrastructure ended it."""
        job, before = self._jobs[name], self._records[name]
        usd = before.usd + record.usd
        seconds = before.seconds + record.seconds
        record = replace(record, usd=usd, seconds=seconds, attempts=before.attempts)
        if cause in job.retry.on and before.attempts <= job.retry.limit:
            self._records[name] = replace(record, state=JobState.WAITING)
            return True
        if record.state is JobState.FAILED and job.soft_fail:
            record = replace(record, state=JobState.SOFT_FAILED)
        self._records[name] = record
        return False

    def reuse(self, name: str, record: JobRecord) -> None:
        """Take the result of an earlier queue."""
        self._records[name] = replace(record, is_reused=True)

    def run_again(self, name: str) -> None:
        """Let a finished job wait again, because its files are gone with its machine."""
        record = self._records[name]
        fresh = JobRecord() if record.is_reused else replace(record, state=JobState.WAITING, reason="")
        self._records[name] = fresh

    def cancel(self) -> None:
        """End all that waits. Jobs under way end by themselves."""
        for name, record in self._records.items():
            if record.state is JobState.WAITING:
                self._end_without_run(name, JobState.CANCELLED, "the queue was cancelled")

    def _end_without_run(self, name: str, state: JobState, reason: str) -> None:
        self._records[name] = replace(self._records[name], state=state, reason=reason)
        self.without_run.append(name)

    def _is_ready(self, job: QueueJob) -> bool:
        states = {self._records[name].state for name in job.needs}
        fit = OVER if job.allow_dependency_failure else GOOD
        return self._records[job.id].state is JobState.WAITING and states <= fit

    def _is_paid(self, job: QueueJob, reserved: float, *, may_change: bool) -> bool:
        """Reserve the most that a job can cost before it starts. It waits while running jobs hold reservations.

        `may_change`: a job starts now, or a machine ends. A machine that waits for a job gives nothing back.
        """
        budget, price = self._queue.budget, self._reservation(job)
        if budget is None or not price or self.cost + reserved + price <= budget:
            return True
        if not self.running and not may_change:
            rest = dollars(max(0.0, budget - self.cost - reserved))
            reason = f"it may cost {dollars(price)}, and the budget has {rest} left"
            self._end_without_run(job.id, JobState.SKIPPED, reason)
            self._records[job.id] = replace(self._records[job.id], exit_code=BudgetError.exit_code)
        return False

    def _reservation(self, job: QueueJob) -> float:
        """Return the dollars to reserve for a start: a shared machine is reserved once, for all its jobs."""
        if job.machine is None:
            return self._price(job.id)
        return 0.0 if job.machine in self._machines else sum(map(self._price, self.jobs_of(job.machine)))

    def _price(self, name: str) -> float:
        return self._prices.get(name) or 0.0

    def _skip(self) -> None:
        """Skip each job whose need is over and not good, and then the jobs that need it."""
        has_changed = True
        while has_changed:
            has_changed = False
            for job in self._queue.jobs:
                if self._records[job.id].state is not JobState.WAITING or job.allow_dependency_failure:
                    continue
                bad = [name for name in job.needs if self._records[name].state in OVER - GOOD]
                if bad:
                    reason = ", ".join(f"{name} {_ending(self._records[name].state)}" for name in bad)
                    self._end_without_run(job.id, JobState.SKIPPED, f"it needs {reason}")
                    has_changed = True


def _groups(job: QueueJob) -> set[tuple[str, str]]:
    """Return the groups of which one job runs at a time: its own, and its machine."""
    named = (("group", job.concurrency_group), ("machine", job.machine))
    return {(kind, name) for kind, name in named if name is not None}


def _ending(state: JobState) -> str:
    return f"(was {state.value})" if state in {JobState.SKIPPED, JobState.CANCELLED} else f"({state.value})"
