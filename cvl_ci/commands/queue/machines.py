"""The machines that jobs of a queue use in turn: their jobs, handed from thread to thread, and their rules."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cvl_ci.commands.plan.named_files import with_warning
from cvl_ci.commands.plan.quote import machine as machine_text
from cvl_ci.errors import CvlError, InputProblem, NotProvedGone
from cvl_ci.model.limits import RELEASE_MINUTES, Limits
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.queue import JobRecord, JobState, Queue, QueueJob
from cvl_ci.result.text import accounted_for

MOST_REPEATS = 3
"""How often the needs of a job run again because their machine ended before the job used their files there."""


@dataclass(frozen=True, kw_only=True)
class QueuedTurn:
    """One attempt of a job, for a machine that it shares."""

    job: str
    attempt: int
    plan: RunPlan


class MachineJobs:
    """The jobs of one machine. The queue's thread puts them in, and the machine's thread takes them out."""

    def __init__(self, first: QueuedTurn) -> None:
        self.first = first
        self._next: QueuedTurn | None = None
        self._is_open, self._is_claimed = True, False
        self._changed = threading.Condition()

    def claim(self) -> bool:
        """Announce a job, so that the machine waits for it. False: the machine takes no further job."""
        with self._changed:
            self._is_claimed = self._is_open
            return self._is_claimed

    def put(self, turn: QueuedTurn) -> None:
        """Give the job that was announced."""
        with self._changed:
            self._next = turn
            self._changed.notify_all()

    def close(self) -> None:
        """Announce that no further job comes."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def next_job(self, seconds: float) -> QueuedTurn | None:
        """Wait for the next job. None: none came in these seconds, or none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None or not self._is_open, seconds)
            turn, self._next = self._next, None
            self._is_claimed = self._is_claimed and turn is None
            return turn

    def end(self) -> bool:
        """Take no further job. False: one is announced, or is there."""
        with self._changed:
            if self._next is not None or (self._is_claimed and self._is_open):
                return False
            self._is_open = False
            return True

    @property
    def is_open(self) -> bool:
        with self._changed:
            return self._is_open


@dataclass(kw_only=True)
class SharedMachine:
    """One machine of a queue. `end`: the complete outcomes of its jobs, or the error that it raised."""

    lease: str
    jobs: MachineJobs
    thread: threading.Thread | None = None
    end: Sequence[tuple[QueuedTurn, Outcome]] | BaseException | None = None

    @property
    def has_begun(self) -> bool:
        return self.thread is not None and self.thread.ident is not None

    @property
    def is_proved(self) -> bool:
        """Return whether nothing of it can be left."""
        if isinstance(self.end, BaseException):
            return isinstance(self.end, CvlError) and not isinstance(self.end, NotProvedGone)
        return self.end is not None and all(accounted_for(outcome) for _, outcome in self.end)


class QueueMachines:
    """The shared machines of a queue by their keys, until the queue has their ends.

    A job that needs another job of its machine finds its files there. `inputs.from` brings them to any machine.
    """

    def __init__(self, queue: Queue) -> None:
        self.by_key: dict[str, SharedMachine] = {}
        self._jobs = {job.id: job for job in queue.jobs}
        self._again: set[str] = set()
        self._repeats: Counter[str] = Counter()

    def key(self, job: str) -> str | None:
        return self._jobs[job].machine

    def of(self, job: str) -> SharedMachine | None:
        """Return the present machine of a job's key."""
        return self.by_key.get(self._jobs[job].machine or "")

    def is_in_use(self, lease: str) -> bool:
        return any(machine.lease == lease for machine in self.by_key.values())

    @property
    def closing(self) -> set[str]:
        """Return the keys whose machine takes no further job, and has not ended."""
        return {key for key, machine in self.by_key.items() if not machine.jobs.is_open}

    @property
    def over(self) -> list[str]:
        """Return the keys whose machine has ended."""
        return [key for key, machine in self.by_key.items() if machine.end is not None]

    def before(self, name: str) -> tuple[str, ...]:
        """Return the jobs whose files this one finds on its machine."""
        job = self._jobs[name]
        if job.clean:
            return ()
        own = [need for need in job.needs if need not in job.inputs_from]
        return tuple(need for need in own if job.machine is not None and self._jobs[need].machine == job.machine)

    def lost_needs(self, name: str, records: Mapping[str, JobRecord]) -> tuple[str, ...]:
        """Return the finished jobs whose files this one would find on a machine that is gone."""
        machine = self.of(name)
        if machine is not None and not machine.jobs.is_open:
            return ()  # the next machine decides
        lease = machine.lease if machine else None
        finished = [need for need in self.before(name) if records[need].state is JobState.SUCCEEDED]
        return tuple(need for need in finished if records[need].lease != lease)

    def can_repeat(self, name: str, needs: Iterable[str]) -> bool:
        """Note that the needs of a job run again. False: they did so too often."""
        self._repeats[name] += 1
        self._again |= set(needs)
        return self._repeats[name] <= MOST_REPEATS

    def takes_earlier_result(self, name: str) -> bool:
        """Return whether an earlier queue's result can stand for the job. Its files here do not help its machine."""
        return name not in self._again

    def started(self, name: str) -> None:
        self._again.discard(name)


def limits(plans: Iterable[RunPlan]) -> Limits:
    """Return the limits of a machine for these jobs: their times and their money together."""
    single = [plan.limits for plan in plans]
    minutes = sum(one.longest_minutes for one in single) - single[0].provisioning_minutes - RELEASE_MINUTES
    costs = [one.max_cost_usd for one in single]
    usd = None if None in costs else sum(cost or 0.0 for cost in costs)
    return replace(single[0], max_runtime_minutes=minutes, max_cost_usd=usd)


def notes(queue: Queue) -> list[str]:
    """Return one line about each machine that several jobs share."""
    by_key: dict[str, list[QueueJob]] = {}
    for job in queue.jobs:
        if job.machine is not None:
            by_key.setdefault(job.machine, []).append(job)
    return [
        f"machine {key}: {', '.join(job.id for job in jobs)} run in turn on one machine, "
        f"{'which is cleaned after each' if jobs[0].clean else 'in one working directory'}"
        for key, jobs in by_key.items()
        if len(jobs) > 1
    ]


def mistakes(queue: Queue, plans: Mapping[str, RunPlan]) -> list[InputProblem]:
    """Return the mistakes of jobs that a queue cannot run, or that share a machine: one launch is for all of them."""
    first: dict[str, QueueJob] = {}
    problems = []
    for job in queue.jobs:
        if job.id in plans and plans[job.id].detach.place is not None:
            problem = "cannot be combined with a queue, which waits for each of its jobs"
            word = "managed" if plans[job.id].detach.is_managed else "detach"
            problems.append(InputProblem(field=f"job {job.id}: {word}", value="true", problem=problem))
        if job.id in plans and (reuse := plans[job.id].machines.reuse) is not None:
            # Post knows a queue's leases by the names of its jobs, and a waiting machine has the name of another run.
            problem = "cannot be combined with a queue, whose jobs share a machine by `machine: KEY`"
            problems.append(InputProblem(field=f"job {job.id}: reuse", value=reuse.key, problem=problem))
        if job.machine is None and job.clean:
            problem = "works only with `machine`: a machine of its own has no further job"
            problems.append(InputProblem(field=f"job {job.id}: clean", value="true", problem=problem))
        if job.machine is None or job.id not in plans:
            continue
        plan, other = plans[job.id], first.setdefault(job.machine, job)
        problems += _of_cleaning(job, other, queue)
        for field, value, problem in _alone(plan):
            problems.append(InputProblem(field=f"job {job.id}: {field}", value=value, problem=problem))
        for field, value, other_value in _differences(plan, plans[other.id]):
            problem = f"is another than in job {other.id} ({other_value}), and both use the machine {job.machine}"
            problems.append(InputProblem(field=f"job {job.id}: {field}", value=value, problem=problem))
    return problems


def _of_cleaning(job: QueueJob, other: QueueJob, queue: Queue) -> Iterator[InputProblem]:
    """Yield the mistakes about a machine that is cleaned: either after each of its jobs, or after none."""
    if job.clean is not other.clean:
        problem = f"is another than in job {other.id}, and both use the machine {job.machine}"
        yield InputProblem(field=f"job {job.id}: clean", value=str(job.clean).lower(), problem=problem)
    keys = {one.id: one.machine for one in queue.jobs}
    lost = [need for need in job.needs if job.clean and keys[need] == job.machine and need not in job.inputs_from]
    if lost:
        problem = "names a job whose files are removed from the machine: use `inputs: {from: ID}`"
        yield InputProblem(field=f"job {job.id}: needs", value=", ".join(lost), problem=problem)


def of_job(job: QueueJob, plan: RunPlan) -> RunPlan:
    """Return the plan of a job with the facts of its machine. Another job may bring a file that its command runs."""
    if plan.work.missing_scripts and plan.work.example is None and (job.machine or job.inputs_from):
        plan = with_warning(plan)
    return replace(plan, machines=replace(plan.machines, is_cleaned=job.clean and job.machine is not None))


def machine_of(plan: RunPlan) -> str:
    """Return a text that is equal for plans that can share a machine; empty: this one needs its own."""
    if next(_alone(plan), None) is not None or plan.machines.reuse is not None or plan.detach.place is not None:
        return ""
    machines = plan.machines
    facts = (machines.num_nodes, machines.locations, sorted(machines.unfit_clouds), machines.spot, plan.work.image)
    return repr((*facts, machines.needs))


def _alone(plan: RunPlan) -> Iterator[tuple[str, str, str]]:
    """Yield the inputs of a plan that a shared machine cannot have."""
    unfit = "cannot be combined with `machine`"
    if plan.machines.recoveries:
        yield "recover", str(plan.machines.recoveries), f"{unfit}: use `retry`"
    if plan.limits.keep_minutes and plan.machines.reuse is None:
        yield "keep", f"{plan.limits.keep_minutes:g} minutes", unfit
    if plan.service is not None:
        yield "port", str(plan.service.port), unfit
    if plan.checkpoints.is_stored:
        yield "checkpoint_to", plan.checkpoints.place_text, unfit
    remote = [mount.target for mount in plan.files.mounts if not mount.is_local or mount.needs_bucket]
    if remote or plan.work.task_extra.get("file_mounts"):
        yield "mounts", ", ".join(remote) or "file_mounts", f"{unfit}: only a copy of a local folder does"


def _differences(plan: RunPlan, other: RunPlan) -> Iterator[tuple[str, str, str]]:
    """Yield the requests for the machine in which two plans differ: the input, and both values."""
    one, another = plan.machines, other.machines
    if one.num_nodes != another.num_nodes:
        yield "num_nodes", str(one.num_nodes), str(another.num_nodes)
    if (one.locations, one.unfit_clouds) != (another.locations, another.unfit_clouds):
        yield "cloud", _places(plan), _places(other)
    if one.spot is not another.spot:
        yield "spot", one.spot.value, another.spot.value
    if plan.work.image != other.work.image:
        yield "image", plan.work.image or "none", other.work.image or "none"
    if one.needs != another.needs:
        yield "resources", machine_text(one.needs), machine_text(another.needs)


def _places(plan: RunPlan) -> str:
    places = ", ".join(map(str, plan.machines.locations)) or "any"
    unfit = ", ".join(sorted(plan.machines.unfit_clouds))
    return f"{places} without {unfit}" if unfit else places
