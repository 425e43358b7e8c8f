"""The runs of a queue's jobs in threads of this process: each alone, or in turn on a shared machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.commands.queue import former_leases, run_queue
from cvl_ci.commands.run.in_turn import Turn
from cvl_ci.errors import CvlError, NotProvedGone, UntrustedCode
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.console.callback_reporter import CallbackReporter
from cvl_ci.local.console.log_file import KeptLog
from cvl_ci.local.interruption import Interruption
from cvl_ci.model.owner import Owner
from cvl_ci.result.masked_errors import masked_errors
from cvl_ci.result.masks import Masks
from cvl_ci.result.no_follow import write_text
from cvl_ci.result.summary import to_json
from cvl_ci.result.text import accounted_for
from cvl_ci.wiring.access import set_up
from cvl_ci.wiring.directories import open_records
from cvl_ci.wiring.one_run import carry_out, carry_out_in_turn, end, until_release

if TYPE_CHECKING:
    from cvl_ci.commands.queue.machines import MachineJobs, QueuedTurn
    from cvl_ci.commands.queue.queue_ports import EndedLease, TurnEnded
    from cvl_ci.model.launch import Spending
    from cvl_ci.model.limits import Limits
    from cvl_ci.model.location import Location
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.queue import JobRecord
    from cvl_ci.model.release import Release
    from cvl_ci.ports import Records


@dataclass(frozen=True, kw_only=True)
class EndedJob:
    """The end of a job, with its share of the cost. `lease`: its own name; on a shared machine no lease may have it."""

    job: str
    lease: str
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class QueueCaller:
    """The entry point. `line` gets a job and one line of it; `tell` gets notes; `changed` gets each new state.

    `owner`: the facts of this process; a job's lease adds the job and the attempt. `masks`: they get each secret before
    the first job starts, and no more after that, as the threads of all jobs share them.
    """

    folder: Path
    outputs: Path
    environ: Mapping[str, str]
    owner: Owner
    masks: Masks
    line: Callable[[str, str], None]
    tell: Callable[[str], None]
    changed: Callable[[str, JobRecord], None] = lambda name, record: None  # noqa: ARG005
    on_kept: Callable[[str, int], None] = lambda lease, number: None  # noqa: ARG005
    """It hears of each machine that stays after its job: the lease, and the number of its use, or 0."""
    on_lease: Callable[[str, bool], None] = lambda lease, is_open: None  # noqa: ARG005
    """It hears of each lease: open, before anything is created under it, and not open, after its proof."""
    on_priced: Callable[[str, str, Spending], None] = lambda job, lease, spending: None  # noqa: ARG005
    """It hears of the requests of each lease, by its first job."""
    on_ended: Callable[[Sequence[EndedJob]], None] = lambda _: None
    """It hears of the jobs of each machine after its release."""


@dataclass
class JobThreads:
    """The runs of jobs, in this process. `stop` reaches each of them, and those that have not begun."""

    caller: QueueCaller
    locations: tuple[Location, ...] = ()
    """Where a lease of an earlier queue may have machines that this computer has no record of."""
    secrets: frozenset[str] = frozenset()
    """The names of all jobs' secrets. SkyPilot's process on this computer gets none of them."""
    interruptions: dict[str, Interruption] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_stopped: bool = False

    def lease(self, job: str, attempt: int) -> str:
        return self._owner(job, attempt).name

    def folder(self, job: str, attempt: int) -> Path:
        """Return a folder with the lease's name: another queue in the same place has other leases."""
        return self.caller.outputs / job / self.lease(job, attempt)

    def run(self, job: str, attempt: int, plan: RunPlan) -> Outcome:
        """Run a plan in this thread. Its lines go to a file too."""
        owner, folder = self._owner(job, attempt), self.folder(job, attempt)
        with (
            self._stoppable(job) as interruption,
            self._open_lease(owner.name) as ends,
            self.watched(job, folder, interruption, lease=(job, owner.name)) as reporter,
        ):
            outcome = carry_out(
                plan,
                environ=self.caller.environ,
                owner=owner,
                outputs=folder,
                reporter=reporter,
                interruption=interruption,
            )
            outcome = self.finished(folder, outcome)
            self.caller.on_ended([EndedJob(job=job, lease=owner.name, outcome=outcome)])
            ends.append(outcome)
        if outcome.release is not None and outcome.release.kept is not None and outcome.machines.launch is not None:
            use = outcome.machines.use
            self.caller.on_kept(outcome.machines.cluster, use.number if use else 0)
        return outcome

    def serve(self, jobs: MachineJobs, limits: Limits, *, on_end: TurnEnded) -> Sequence[tuple[QueuedTurn, Outcome]]:
        """Run jobs in turn on one machine, in this thread."""
        first, owner = jobs.first, self._owner(jobs.first.job, jobs.first.attempt)
        with ExitStack() as stack:
            interruption = stack.enter_context(self._stoppable(f"machine of {first.job}"))
            ends = stack.enter_context(self._open_lease(owner.name))
            turns = MachineTurns(self, jobs, on_end=on_end, stack=stack, interruption=interruption)
            end = carry_out_in_turn(
                turns.opened(first),
                turns,
                environ=self.caller.environ,
                owner=owner,
                limits=limits,
                secrets=self.secrets,
                interruption=interruption,
            )
            over = [(turns.queued(turn), self.finished(turn.outputs, outcome)) for turn, outcome in end.outcomes]
            self.caller.on_ended(
                [
                    EndedJob(job=turn.job, lease=self.lease(turn.job, turn.attempt), outcome=outcome)
                    for turn, outcome in over
                ]
            )
            ends.extend(outcome for _, outcome in over)
        return over

    @contextmanager
    def _stoppable(self, name: str) -> Iterator[Interruption]:
        """Let `stop` reach a run. Raise KeyboardInterrupt after a stop."""
        interruption = Interruption()
        with self.lock:
            if self.is_stopped:
                raise KeyboardInterrupt
            self.interruptions[name] = interruption
        with self._masked_errors():
            yield interruption

    @contextmanager
    def _open_lease(self, name: str) -> Iterator[list[Outcome]]:
        """Tell the caller of a lease around its run. The block adds the outcomes, which hold the proof."""
        outcomes: list[Outcome] = []
        self.caller.on_lease(name, True)
        try:
            yield outcomes
        except CvlError as error:  # it comes before any cost, or tells that a proof is missing
            if not isinstance(error, NotProvedGone):
                self.caller.on_lease(name, False)
            raise
        if all(map(accounted_for, outcomes)):
            self.caller.on_lease(name, False)

    @contextmanager
    def watched(
        self, job: str, folder: Path, interruption: Interruption, *, lease: tuple[str, str]
    ) -> Iterator[CallbackReporter]:
        """Give a reporter of one job, whose lines go to a file too. `lease`: its machine's first job, and its name."""
        tell = self.caller.tell
        log = KeptLog(folder.with_suffix(".log"), hide=self.caller.masks.hide_as_read, say=lambda _: None)

        def line(text: str) -> None:
            log.line(text)
            self.caller.line(job, text)

        try:
            yield CallbackReporter(
                on_line=line,
                on_notice=lambda text: tell(f"{job}: {text}"),
                on_phase=until_release(interruption),
                on_priced=lambda spending: self.caller.on_priced(*lease, spending),
                masks=self.caller.masks,
            )
        finally:
            log.close()

    def finished(self, folder: Path, outcome: Outcome) -> Outcome:
        """Write the summary of a run next to its files. Return the outcome without secrets."""
        outcome = self.caller.masks.cleaned(outcome)
        self._write_summary(folder.with_suffix(".json"), outcome)
        return outcome

    def stop(self) -> None:
        with self.lock:
            self.is_stopped = True
            interruptions = list(self.interruptions.values())
        for interruption in interruptions:
            interruption.stop()

    def end(self, leases: list[str]) -> Mapping[str, EndedLease]:
        """End the leases of an earlier queue. One without a record here is looked for in the places of the jobs."""
        reporter = CallbackReporter(on_line=self.caller.tell, on_notice=self.caller.tell, masks=self.caller.masks)
        lease_records = open_records(self.caller.environ, reporter)
        if self.caller.environ.get("GITHUB_REPOSITORY"):
            refuse_foreign(leases, lease_records, owner=self.caller.owner)
        before = {name: record for name in leases if (record := lease_records.read(name)) is not None}
        recorded = list(before)
        unknown = [name for name in leases if name not in recorded]
        locations = (self.locations or set_up(self.caller.environ)) if unknown else ()
        if unknown and not locations:
            raise NotProvedGone(
                f"This computer has no record of leases of the earlier queue: {', '.join(unknown)}.",
                money="Their machines may still run, and are billed.",
                next_step=f"End them with proof: cvl-ci down {' '.join(unknown)} --cloud CLOUD",
            )
        proofs: dict[str, Release] = {}
        environ, user_id = self.caller.environ, self.caller.owner.user_id
        if recorded:
            proofs.update(end(recorded, environ=environ, locations=(), user_id=user_id, reporter=reporter))
        if unknown:
            proofs.update(end(unknown, environ=environ, locations=locations, user_id=user_id, reporter=reporter))
        return {name: former_leases.end_of(before.get(name), proof, lease_records) for name, proof in proofs.items()}

    @contextmanager
    def _masked_errors(self) -> Iterator[None]:
        """Hide secrets in each error of a run. A mistake of cvl-ci may have lost the proof, so it says so."""
        masks = self.caller.masks
        try:
            with masked_errors(masks):
                yield
        except CvlError:
            raise
        except Exception as error:  # noqa: BLE001  the queue tells it as the job's end
            what = masks.hide(f"{type(error).__name__}: {error}")
            raise NotProvedGone(f"cvl-ci made a mistake in this run. {what}", money="") from None

    def _owner(self, job: str, attempt: int) -> Owner:
        owner = self.caller.owner
        return replace(owner, leg="/".join(filter(None, [owner.leg, job, str(attempt)])))

    def _write_summary(self, path: Path, outcome: Outcome) -> None:
        try:
            write_text(path, json.dumps(to_json(outcome), indent=2, allow_nan=False) + "\n")
        except (CvlError, OSError) as error:
            self.caller.tell(f"The summary could not be written to {path}: {error}")


def refuse_foreign(leases: Sequence[str], lease_records: Records, *, owner: Owner) -> None:
    """Refuse leases that this computer knows as another repository's: the record of a queue may be forged.

    On a workflow's runner only: elsewhere a folder stands in place of the repository. Raises UntrustedCode.
    """
    recorded = {name: record for name in leases if (record := lease_records.read(name)) is not None}
    foreign = [name for name, record in recorded.items() if owner.is_another(record.labels)]
    if foreign:
        raise UntrustedCode(
            f"The record of the queue names leases of another repository: {', '.join(foreign)}. None was ended.",
            next_step="Remove the record to run every job again, or name another folder.",
        )


class MachineTurns:
    """The further jobs of one machine, each with its own reporter."""

    def __init__(
        self,
        runs: JobThreads,
        jobs: MachineJobs,
        *,
        on_end: TurnEnded,
        stack: ExitStack,
        interruption: Interruption,
    ) -> None:
        self._runs, self._jobs, self._on_end, self._stack = runs, jobs, on_end, stack
        self._interruption = interruption
        self._clock = SystemClock()
        self._lease = jobs.first.job, runs.lease(jobs.first.job, jobs.first.attempt)
        self._queued: dict[Path, QueuedTurn] = {}

    def opened(self, queued: QueuedTurn) -> Turn:
        """Return a job as its machine takes it. Its log stays open until the machine ends."""
        folder = self._runs.folder(queued.job, queued.attempt)
        reporter = self._stack.enter_context(
            self._runs.watched(queued.job, folder, self._interruption, lease=self._lease)
        )
        self._queued[folder] = queued
        return Turn(job=queued.job, plan=queued.plan, outputs=folder, reporter=reporter)

    def queued(self, turn: Turn) -> QueuedTurn:
        return self._queued[turn.outputs]

    def next(self, *, until: float) -> Turn | None:
        while True:
            queued = self._jobs.next_job(run_queue.POLL_SECONDS)
            if queued is not None:
                return self.opened(queued)
            if not self._jobs.is_open or (self._clock.now() >= until and self._jobs.end()):
                return None

    def finish(self, turn: Turn, result: Outcome) -> None:
        self._on_end(self.queued(turn), self._runs.finished(turn.outputs, result))
