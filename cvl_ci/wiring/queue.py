"""A queue of jobs: plans for all of them before the first starts, and one run in a thread for each."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.commands.plan import quote as planning
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.queue import machines, run_queue
from cvl_ci.commands.queue.manifest import Manifest
from cvl_ci.commands.queue.queue_ports import QueuePorts
from cvl_ci.commands.run.in_turn import Turn
from cvl_ci.errors import CvlError, InputProblem, NotProvedGone, RequestError
from cvl_ci.inputs.option import by_own_name
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.inputs.table import RUN_OPTIONS
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.console.callback_reporter import Listener
from cvl_ci.local.console.log_file import KeptLog
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.interruption import Interruption
from cvl_ci.model.owner import Owner
from cvl_ci.planning import queue_file, safe_yaml
from cvl_ci.result.masked_errors import masked_errors
from cvl_ci.result.masks import Masks
from cvl_ci.result.no_follow import write_text
from cvl_ci.result.secret_names import secrets_of
from cvl_ci.result.summary import to_json
from cvl_ci.wiring.access import goes_through_server, on_usable_clouds, require_credentials, set_up
from cvl_ci.wiring.clouds import prices
from cvl_ci.wiring.directories import records
from cvl_ci.wiring.one_run import carry_out, carry_out_in_turn, end, until_release

if TYPE_CHECKING:
    from cvl_ci.commands.queue.machines import MachineJobs, QueuedTurn
    from cvl_ci.commands.queue.queue_ports import TurnEnded
    from cvl_ci.model.limits import Limits
    from cvl_ci.model.location import Location
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.queue import JobRecord, Queue
    from cvl_ci.model.release import Release


@dataclass(frozen=True, kw_only=True)
class Caller:
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
    on_kept: Callable[[str, str], None] = lambda lease, cloud: None  # noqa: ARG005
    """It hears of each machine that stays after its job: the lease and its cloud."""


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
    """
    queued, mistakes = queue_file.read(document, overrides=overrides)
    if queued is None:
        raise RequestError(mistakes)
    common = by_own_name(defaults or {}, RUN_OPTIONS)
    jobs = tuple(replace(job, request={**common, **job.request}) for job in queued.jobs)
    return replace(queued, jobs=jobs, max_parallel=max_parallel or queued.max_parallel, budget=budget or queued.budget)


def run(queued: Queue, caller: Caller) -> Mapping[str, JobRecord]:
    """Run a queue. Raises CvlError before any job starts; afterwards each job has a record."""
    plans = _plans(queued, caller)
    catalogue = prices(caller.environ)
    quotes = {name: planning.quote(plan, catalogue).max_usd for name, plan in plans.items()}
    _require_prices(queued, quotes)
    for plan in plans.values():
        require_credentials(caller.environ, [place.cloud for place in plan.machines.locations])
    for note in machines.notes(queued):
        caller.tell(note)
    places = dict.fromkeys(place for plan in plans.values() for place in plan.machines.locations)
    secrets = frozenset(name for plan in plans.values() for name in plan.variables.secrets)
    runs = JobThreads(caller, places=tuple(places), secrets=secrets)
    ports = QueuePorts(runs=runs, manifest=Manifest(caller.outputs), changed=caller.changed)
    return run_queue.run(queued, plans, prices=quotes, ports=ports)


def _plans(queued: Queue, caller: Caller) -> dict[str, RunPlan]:
    """Return the plan of each job. A mistake of any job starts none: one error has all of them."""
    catalogue, plans = prices(caller.environ), {}
    through_server = goes_through_server(caller.environ, by_inputs=False)
    mistakes: list[InputProblem] = []
    for job in queued.jobs:
        try:
            inputs = from_keywords(job.request, environment=caller.environ)
            caller.masks.add(*secrets_of(inputs.variables))
            at = str(inputs.work.workdir or inputs.work.task or ".")
            checkout = open_checkout(caller.folder, at=at)
            plan = prepare(inputs, checkout=checkout, prices=catalogue, through_server=through_server)
            caller.masks.add(*secrets_of(plan.variables))
            plans[job.id] = on_usable_clouds(plan, caller.environ, catalogue, by_inputs=False, asks_role=True)
        except RequestError as error:
            mistakes += [replace(one, field=f"job {job.id}: {one.field}") for one in error.mistakes]
    mistakes += machines.mistakes(queued, plans)
    if mistakes:
        raise RequestError(mistakes)
    return plans


def _require_prices(queued: Queue, quotes: Mapping[str, float | None]) -> None:
    """Refuse a budget that a job without a price could exceed."""
    unknown = [name for name, usd in quotes.items() if usd is None]
    if queued.budget is not None and unknown:
        problem = f"cannot be held: no price is known for {', '.join(unknown)}"
        raise RequestError([InputProblem(field="budget", value=f"{queued.budget:g}", problem=problem)])


@dataclass
class JobThreads:
    """The runs of jobs, in this process. `stop` reaches each of them, and those that have not begun."""

    caller: Caller
    places: tuple[Location, ...] = ()
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
        with self._stoppable(job) as interruption, self.watched(job, folder, interruption) as reporter:
            outcome = carry_out(
                plan,
                environ=self.caller.environ,
                owner=owner,
                outputs=folder,
                reporter=reporter,
                interruption=interruption,
            )
        outcome = self.finished(folder, outcome)
        if outcome.release is not None and outcome.release.kept is not None and outcome.machines.launch is not None:
            self.caller.on_kept(owner.name, outcome.machines.launch.cloud)
        return outcome

    def serve(self, jobs: MachineJobs, limits: Limits, *, on_end: TurnEnded) -> Sequence[tuple[QueuedTurn, Outcome]]:
        """Run jobs in turn on one machine, in this thread."""
        first = jobs.first
        with ExitStack() as stack:
            interruption = stack.enter_context(self._stoppable(f"machine of {first.job}"))
            turns = MachineTurns(self, jobs, on_end=on_end, stack=stack, interruption=interruption)
            end = carry_out_in_turn(
                turns.opened(first),
                turns,
                environ=self.caller.environ,
                owner=self._owner(first.job, first.attempt),
                limits=limits,
                secrets=self.secrets,
                interruption=interruption,
            )
        return [(turns.queued(turn), self.finished(turn.outputs, outcome)) for turn, outcome in end.outcomes]

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
    def watched(self, job: str, folder: Path, interruption: Interruption) -> Iterator[Listener]:
        """Give a reporter of one job, whose lines go to a file too."""
        tell = self.caller.tell
        log = KeptLog(folder.with_suffix(".log"), hide=self.caller.masks.hide_as_read, say=lambda _: None)

        def line(text: str) -> None:
            log.line(text)
            self.caller.line(job, text)

        try:
            yield Listener(
                on_line=line,
                on_notice=lambda text: tell(f"{job}: {text}"),
                on_phase=until_release(interruption),
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

    def end(self, leases: list[str]) -> Mapping[str, Release]:
        """End the leases of an earlier queue. One without a record here is looked for in the places of the jobs."""
        reporter = Listener(on_line=self.caller.tell, on_notice=self.caller.tell, masks=self.caller.masks)
        lease_records = records(self.caller.environ, reporter)
        recorded = [name for name in leases if lease_records.read(name) is not None]
        unknown = [name for name in leases if name not in recorded]
        places = (self.places or set_up(self.caller.environ)) if unknown else ()
        if unknown and not places:
            raise NotProvedGone(
                f"This computer has no record of leases of the earlier queue: {', '.join(unknown)}.",
                money="Their machines may still run, and are billed.",
                next_step=f"End them with proof: cvl-ci down {' '.join(unknown)} --cloud CLOUD",
            )
        proofs: dict[str, Release] = {}
        environ, user_id = self.caller.environ, self.caller.owner.user_id
        if recorded:
            proofs.update(end(recorded, environ=environ, places=(), user_id=user_id, reporter=reporter))
        if unknown:
            proofs.update(end(unknown, environ=environ, places=places, user_id=user_id, reporter=reporter))
        return proofs

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
        self._queued: dict[Path, QueuedTurn] = {}

    def opened(self, queued: QueuedTurn) -> Turn:
        """Return a job as its machine takes it. Its log stays open until the machine ends."""
        folder = self._runs.folder(queued.job, queued.attempt)
        reporter = self._stack.enter_context(self._runs.watched(queued.job, folder, self._interruption))
        self._queued[folder] = queued
        return Turn(job=queued.job, plan=queued.plan, outputs=folder, workflow=reporter)

    def queued(self, turn: Turn) -> QueuedTurn:
        return self._queued[turn.outputs]

    def next(self, *, until: float) -> Turn | None:
        while True:
            queued = self._jobs.take(run_queue.POLL_SECONDS)
            if queued is not None:
                return self.opened(queued)
            if not self._jobs.is_open or (self._clock.now() >= until and self._jobs.end()):
                return None

    def finish(self, turn: Turn, result: Outcome) -> None:
        self._on_end(self.queued(turn), self._runs.finished(turn.outputs, result))
