"""Runs of a queue's jobs in a dict: what each job wrote, which machines run, and a kill at any step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvl_ci.commands.queue.machines import MachineJobs, QueuedTurn
from cvl_ci.commands.queue.queue_ports import EndedLease, QueuePorts, TurnEnded
from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.errors import CapacityError, CvlError
from cvl_ci.model.launch import Launch
from cvl_ci.model.ledger import Cost
from cvl_ci.model.limits import Limits
from cvl_ci.model.outcome import Ending, FetchedFile, FileResult, MachineResult, Outcome, Timing
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.model.queue import JobRecord, JobState, Queue
from cvl_ci.model.release import Release
from cvl_ci.model.work_identity import WorkIdentity
from tests.result.outcomes import ON_AWS, ledger
from tests.support.fakes import Killed

GONE = Release(gone=True, at=1.0)
COST = Cost(ledger=ledger(replace(ON_AWS, hourly_usd=0.25), 3600, disk_gb=1.0), hourly_usd=0.25)
USD = COST.usd


@dataclass
class FakeRuns:
    """`script`: how each attempt of a job ends, in turn; the last stays. Default: it succeeds."""

    folder_: Path
    script: Mapping[str, list[object]] = field(default_factory=dict)
    at: Callable[[str], None] = lambda job: None
    started: list[str] = field(default_factory=list)
    machines: set[str] = field(default_factory=set)
    ended: list[str] = field(default_factory=list)
    served: list[list[str]] = field(default_factory=list)
    """The jobs of each shared machine, in order."""
    limits: list[Limits] = field(default_factory=list)
    parallel: int = 0
    most_parallel: int = 0
    is_dead: bool = False
    former_usd: float | None = 0.0
    """The cost of each lease of an earlier queue."""
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lease(self, job: str, attempt: int) -> str:
        return f"lease-{job}-{attempt}"

    def folder(self, job: str, attempt: int) -> Path:
        return self.folder_ / job / str(attempt)

    def run(self, job: str, attempt: int, plan: RunPlan) -> Outcome:
        with self.lock:
            if self.is_dead:
                raise Killed
            self.started.append(job)
            turn = self.started.count(job)
            self.machines.add(self.lease(job, attempt))
            self.parallel += 1
            self.most_parallel = max(self.most_parallel, self.parallel)
        self.at(job)
        with self.lock:
            self.parallel -= 1
            if self.is_dead:
                raise Killed  # the machine runs on
            self.machines.discard(self.lease(job, attempt))
        turns = self.script.get(job, [Ending.SUCCEEDED])
        return self._outcome(job, attempt, plan, turns[min(turn, len(turns)) - 1])

    def serve(self, jobs: MachineJobs, limits: Limits, *, on_end: TurnEnded) -> Sequence[tuple[QueuedTurn, Outcome]]:
        """Play the jobs of one machine. An end that leaves the machine in doubt ends it, as in the real one."""
        lease = self.lease(jobs.first.job, jobs.first.attempt)
        outcomes: list[tuple[QueuedTurn, Outcome]] = []
        turn: QueuedTurn | None = jobs.first
        with self.lock:
            if self.is_dead:
                raise Killed
            self.machines.add(lease)
            self.served.append([])
        self.limits.append(limits)
        served = self.served[-1]
        while turn is not None:
            with self.lock:
                if self.is_dead:
                    raise Killed
                self.started.append(turn.job)
                served.append(turn.job)
                turns, number = self.script.get(turn.job, [Ending.SUCCEEDED]), self.started.count(turn.job)
            self.at(turn.job)
            if self.is_dead:
                raise Killed
            end = turns[min(number, len(turns)) - 1]
            if isinstance(end, CvlError):  # the real one makes it a part of the outcome, once there is a lease
                outcome = self._outcome(turn.job, turn.attempt, turn.plan, Ending.NEVER_STARTED)
                outcome = replace(outcome, exit_code=end.exit_code, reason=end.what)
            else:
                outcome = self._outcome(turn.job, turn.attempt, turn.plan, end)
            outcomes.append((turn, outcome))
            if outcome.ending not in {Ending.SUCCEEDED, Ending.FAILED}:
                break
            on_end(turn, replace(outcome, cost=None, release=None, machines=USED))
            turn = self._next(jobs)
        with self.lock:
            if self.is_dead:
                raise Killed
            self.machines.discard(lease)
        return outcomes

    def _next(self, jobs: MachineJobs) -> QueuedTurn | None:
        while not self.stopped.is_set() and not self.is_dead:
            turn = jobs.next_job(0.05)
            if turn is not None or not jobs.is_open:
                return turn
        return None

    def stop(self) -> None:
        self.stopped.set()

    def end(self, leases: list[str]) -> Mapping[str, EndedLease]:
        self.ended += leases
        self.machines -= set(leases)
        return {name: EndedLease(release=GONE, usd=self.former_usd, is_bound=True) for name in leases}

    def _outcome(self, job: str, attempt: int, plan: RunPlan, end: object) -> Outcome:
        if isinstance(end, BaseException):
            raise end
        assert isinstance(end, Ending)
        if self.stopped.is_set():
            end = Ending.CANCELLED
        files: tuple[FetchedFile, ...] = ()
        if end is Ending.SUCCEEDED:
            folder = self.folder(job, attempt)
            folder.mkdir(parents=True, exist_ok=True)
            read = "".join(sorted(Path(str(one.source)).read_text() for one in plan.files.staged))
            (folder / "out.txt").write_text(f"{job}({read})")
            files = (FetchedFile(path="out.txt", bytes=1),)
        return Outcome(
            ending=end,
            reason=f"{job} {end.value}",
            exit_code=0 if end is Ending.SUCCEEDED else 1,
            work=WorkIdentity(title=job),
            machines=MachineResult(cluster=self.lease(job, attempt)),
            timing=Timing(duration_seconds=2.0),
            files=FileResult(fetched=files, directory=str(self.folder(job, attempt))),
            cost=COST,
            release=GONE,
        )


LAUNCH = Launch(
    cluster="",
    cloud="aws",
    region="us-east-1",
    zone=None,
    instance_type="m6i.large",
    accelerators={},
    spot=False,
    num_nodes=1,
    hourly_usd=0.25,
    created_at=0.0,
)
USED = MachineResult(cluster="", launch=LAUNCH)
"""The machine of a job whose machine goes on."""
NO_CAPACITY = CapacityError("no machine anywhere")


def plans(queue: Queue) -> dict[str, RunPlan]:
    return {
        job.id: RunPlan(title=job.id, work=WorkPlan(run_commands=(str(job.request["command"]),))) for job in queue.jobs
    }


@dataclass
class Heard:
    """The states that the queue told, in order."""

    states: list[tuple[str, JobState]] = field(default_factory=list)

    def __call__(self, name: str, record: JobRecord) -> None:
        self.states.append((name, record.state))


def ports(runs: FakeRuns, folder: Path, heard: Heard | None = None, record: QueueRecord | None = None) -> QueuePorts:
    return QueuePorts(runs=runs, record=record or QueueRecord(folder), changed=heard or Heard())
