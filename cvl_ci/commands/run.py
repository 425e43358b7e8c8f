"""`run`: quote → lease → launch → stream → fetch → outcome, and the machine is gone, with proof, whatever happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvl_ci.commands import keep as keeping
from cvl_ci.commands import plan as planning
from cvl_ci.errors import CvlError, Mistake, RequestError
from cvl_ci.lease import Lease, Owner
from cvl_ci.ports import (
    AttemptFailed,
    Attempting,
    Began,
    Clock,
    Cloud,
    Clouds,
    Event,
    Fetched,
    JobEnd,
    LaunchRequest,
    LeaseRecord,
    Line,
    Prices,
    Progress,
    Records,
    Staging,
    Workflow,
)
from cvl_ci.request.plan import RELEASE_MINUTES, Place, Quote, RunPlan
from cvl_ci.result import judgement
from cvl_ci.result.benchmark import files as metric_files
from cvl_ci.result.benchmark.readings import Readings
from cvl_ci.result.outcome import Attempt, Cost, Ending, Launch, Outcome, Phase, Release

CANCEL_GRACE_SECONDS = 60.0
"""The machine ends the job by itself at its limit; only when it does not do we, this much later."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The ports a run needs."""

    clouds: Clouds
    records: Records
    staging: Staging
    workflow: Workflow
    prices: Prices
    clock: Clock


@dataclass(kw_only=True)
class _Run:
    """What is known so far; becomes the Outcome."""

    plan: RunPlan
    quote: Quote
    owner: Owner
    outputs: Path
    tools: Tools
    started: float
    cloud: Cloud | None = None
    lease: Lease | None = None
    launch: Launch | None = None
    job: JobEnd | None = None
    fetched: Fetched = field(default_factory=Fetched)
    release: Release | None = None
    attempts: list[Attempt] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    phase: Phase | None = None
    phase_began: float = 0.0
    spending_since: float | None = None
    failure: CvlError | None = None
    cancelled: bool = False
    came_through: bool = False
    """From launch to fetch, with no mistake of ours on the way."""
    warnings: list[str] = field(default_factory=list)

    def enter(self, phase: Phase | None) -> None:
        """One phase ends where the next begins, so the phases add up to the whole."""
        now = self.tools.clock.monotonic()
        if self.phase is not None:
            name = self.phase.value
            self.phases[name] = self.phases.get(name, 0.0) + now - self.phase_began
        self.phase, self.phase_began = phase, now
        if phase is not None:
            self.tools.workflow.began(phase)

    def watch(self, event: Event) -> None:
        workflow = self.tools.workflow
        match event:
            case Line(text=text):
                workflow.remote(text)
            case Progress(text=text):
                workflow.progress(text)
            case Began(phase=phase):
                if phase is not self.phase:
                    self.enter(phase)
            case Attempting(attempt=attempt):
                self._attempting(attempt)
            case AttemptFailed(attempt=attempt):
                self.attempts[-1:] = [attempt]
                workflow.notice(f"{attempt.where} said no: {attempt.error}")

    def _attempting(self, attempt: Attempt) -> None:
        if self.lease is not None:
            through = self.cloud.through if self.cloud else ""
            self.lease.attempting(attempt, place=Place(cloud=through or attempt.cloud, region=attempt.region or None))
        if self.spending_since is None:
            self.spending_since = self.tools.clock.now()
        self.attempts.append(attempt)
        billed = self.cloud is None or self.cloud.billed
        self.tools.workflow.priced(hourly_usd=attempt.hourly_usd * self.plan.num_nodes, billed=billed)
        spot = " spot" if attempt.spot else ""
        self.tools.workflow.notice(f"asking {attempt.where} for {self.plan.num_nodes} × {attempt.instance_type}{spot}")


def run(plan: RunPlan, *, owner: Owner, outputs: Path, tools: Tools) -> Outcome:
    """Carry out one plan. Raises CvlError only before anything could be spent; afterwards it is an Outcome."""
    _refuse_unseen(plan)
    quoted = planning.quote(plan, tools.prices)
    tools.workflow.quoted(plan, planning.in_one_line(plan, quoted))
    for warning in (*plan.warnings, *quoted.warnings):
        tools.workflow.warning(warning)
    state = _Run(
        plan=plan,
        quote=quoted,
        owner=owner,
        outputs=outputs,
        tools=tools,
        started=tools.clock.monotonic(),
    )
    if plan.on_sandbox:
        state.enter(Phase.SANDBOX)
    with _failures_kept(state), tools.clouds.open(plan.places, user_id=owner.user_id, watch=state.watch) as cloud:
        state.cloud = cloud
        try:
            with _failures_kept(state):
                cloud.engine.warm()
                state.enter(Phase.STAGING)
                with tools.staging.staged(plan.files) as staged, _lease(state, cloud) as lease:
                    _launch_to_fetch(state, cloud, lease, staged)
        finally:
            # Only when a signal hit between the end of the work and the beginning of the release.
            if state.lease is not None and state.release is None:
                state.release = _released(state, state.lease)
    state.enter(None)
    outcome = _outcome(state)
    tools.workflow.ended(outcome)
    return outcome


def _refuse_unseen(plan: RunPlan) -> None:
    """A plan can be made from an example.yaml alone; a run needs what it names."""
    if plan.missing:
        raise RequestError(
            [
                Mistake(field="example", value=plan.example or plan.title, problem=f"has no {name}")
                for name in plan.missing
            ],
            next_step="Run it from a checkout that holds the whole example.",
        )


@contextmanager
def _failures_kept(state: _Run) -> Iterator[None]:
    """What could not be done, or a person's wish to stop, becomes part of the outcome once there is one to tell."""
    try:
        yield
    except CvlError as error:
        if state.failure is None:
            state.failure = error
    except KeyboardInterrupt:
        state.cancelled = True


@contextmanager
def _lease(state: _Run, cloud: Cloud) -> Iterator[Lease]:
    """The promise: written down, then whatever happens inside, released with proof."""
    clock = state.tools.clock
    deadline = clock.now() + state.quote.deadline_minutes * 60
    record = LeaseRecord(
        name=state.owner.name,
        labels=state.owner.labels(deadline=deadline),
        deadline=deadline,
        places=(Place(cloud=cloud.through),) if cloud.through else state.plan.places,
        taken_at=clock.now(),
    )
    lease = Lease(
        record,
        engine=cloud.engine,
        inventory=cloud.inventory,
        records=state.tools.records,
        clock=clock,
        say=state.warnings.append,
    )
    lease.take()
    state.lease = lease
    try:
        with _failures_kept(state):
            yield lease
    finally:
        state.release = _released(state, lease)


def _released(state: _Run, lease: Lease) -> Release:
    """A person's second Ctrl-C lands here: the release begins again rather than stop half-way."""
    while True:
        try:
            kept = _kept(state, lease)
            if kept is not None:
                return kept
            state.enter(Phase.RELEASING)
            return lease.release()
        except KeyboardInterrupt:
            state.cancelled = True
            state.tools.workflow.warning("Still taking the machine down: stopping now would leave it running.")


def _kept(state: _Run, lease: Lease) -> Release | None:
    """Only a machine whose own job failed: it is there, and a look at it may tell why."""
    if not state.plan.limits.keep_minutes or not state.came_through or state.launch is None:
        return None
    if _judged(state).ending is not Ending.FAILED:
        return None
    state.tools.workflow.notice("the job failed: its machine is being kept")
    clock = state.tools.clock
    return keeping.keep(lease, plan=state.plan, launch=state.launch, clock=clock, say=state.warnings.append)


def _launch_to_fetch(state: _Run, cloud: Cloud, lease: Lease, staged: Path) -> None:
    tools = state.tools
    state.enter(Phase.PROVISIONING)
    tools.workflow.notice(f"lease {lease.name}: if this run is lost, `cvl-ci down {lease.name}` ends it")
    request = LaunchRequest(
        plan=state.plan,
        cluster=lease.name,
        labels=lease.record.labels,
        staged=staged,
        deadline=lease.record.deadline,
        fence=tools.records.fence(lease.name),
        likely=state.quote.offers[0] if state.quote.offers else None,
    )
    state.launch = cloud.engine.launch(request, watch=state.watch)
    tools.workflow.launched(state.launch)
    until = _end_of_money(state, state.launch, lease.record.deadline) - RELEASE_MINUTES * 60 + CANCEL_GRACE_SECONDS
    state.job = cloud.engine.follow(watch=state.watch, until=until)
    if state.job.lost is None:
        state.enter(Phase.FETCHING)
        state.fetched = cloud.engine.fetch(into=state.outputs, globs=state.plan.outputs)
    state.came_through = True


def _end_of_money(state: _Run, launch: Launch, deadline: float) -> float:
    """A failover may have led to a dearer machine than was quoted: what max_cost buys is less then."""
    hourly = launch.hourly_usd * launch.num_nodes
    return min(deadline, launch.created_at + state.plan.limits.deadline_minutes(hourly_usd=hourly) * 60)


def _judged(state: _Run) -> judgement.Judgement:
    return judgement.judge(
        plan=state.plan,
        launch=state.launch,
        nodes=state.job.nodes if state.job else None,
        lost=state.job.lost if state.job else None,
        release=state.release,
        failure=state.failure,
        cancelled=state.cancelled,
        attempts=state.attempts,
        ran_seconds=state.phases.get(Phase.SETUP.value, 0.0) + state.phases.get(Phase.RUNNING.value, 0.0),
    )


def _outcome(state: _Run) -> Outcome:
    ended = _judged(state)
    measured, unread = _metrics(state.outputs, [file.path for file in state.fetched.files])
    warnings = [*state.plan.warnings, *state.quote.warnings, *state.warnings, *unread]
    if state.fetched.problem:
        warnings.append(state.fetched.problem)
    return Outcome(
        ending=ended.ending,
        reason=ended.reason,
        exit_code=ended.exit_code,
        advice=ended.advice,
        title=state.plan.title,
        cluster=state.owner.name,
        launch=state.launch,
        attempts=tuple(state.attempts),
        nodes=state.job.nodes if state.job else (),
        phases=dict(state.phases),
        duration_seconds=state.tools.clock.monotonic() - state.started,
        cost=_cost(state),
        files=state.fetched.files,
        refused=state.fetched.refused,
        outputs_directory=str(state.outputs) if state.fetched.files else "",
        metrics=measured.metrics,
        samples=measured.samples,
        example=state.plan.example or "",
        preset=state.plan.preset or "",
        image=state.plan.image or "",
        release=state.release,
        warnings=tuple(warnings),
    )


def _cost(state: _Run) -> Cost | None:
    """From the first time that machines were asked for and had, to their proved end: never less than the bill."""
    last = state.attempts[-1] if state.attempts else None
    if last is None or last.error is not None or state.release is None:
        return None
    began = state.launch.created_at if state.launch else state.spending_since
    kept = state.release.kept
    end = kept.until if kept else state.release.at
    seconds = max(0.0, end - (began if began is not None else end))
    hourly = last.hourly_usd * state.plan.num_nodes
    cost = Cost(
        hourly_usd=hourly,
        seconds=seconds,
        usd=hourly * seconds / 3600,
        estimated_usd=state.quote.max_usd,
        billed=state.cloud is None or state.cloud.billed,
        kept_usd=hourly * max(0.0, end - state.release.at) / 3600 if kept else None,
    )
    if not last.spot:
        return cost
    return replace(cost, on_demand_hourly_usd=_on_demand(state, last))


def _on_demand(state: _Run, attempt: Attempt) -> float | None:
    needs = replace(state.plan.needs, instance_type=attempt.instance_type, accelerators={})
    place = Place(cloud=attempt.cloud, region=attempt.region)
    offers = planning.on_demand(needs, place=place, prices=state.tools.prices)
    return offers[0].hourly_usd * state.plan.num_nodes if offers else None


def _metrics(outputs: Path, paths: Sequence[str]) -> tuple[Readings, list[str]]:
    """And what looked like metrics and could not be read."""

    def opened(path: str) -> bytes:
        with (outputs / path).open("rb") as file:
            return file.read(metric_files.LARGEST_BYTES + 1)

    found, troubles = metric_files.read_all(paths, opened)
    return found, [f"{trouble}: no metrics were taken from it." for trouble in troubles[:5]]
