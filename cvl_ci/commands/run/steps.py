"""The steps that a run and jobs in turn share: the lease with its release, kept failures, and the unpacking."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from cvl_ci.commands.lease_on_cloud import lease_on
from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.plan import quote_text
from cvl_ci.commands.run import detaching, recovery, reuse, serving, spending
from cvl_ci.commands.run import keep_alive as keeping
from cvl_ci.commands.run.outcome import conclusion_so_far
from cvl_ci.commands.run.state import RunPorts, RunState, Timeline
from cvl_ci.errors import CvlError, InputProblem, RequestError, RequestRefused, explain_while_running
from cvl_ci.inputs.suggest import similar
from cvl_ci.lease import Lease
from cvl_ci.model.lease_name import LABEL_BUCKETS, NO_BUCKETS
from cvl_ci.model.location import Location
from cvl_ci.model.outcome import Ending, Phase
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.planning import storage_rules
from cvl_ci.ports import Cloud, LeaseRecord, UnpackStopped
from cvl_ci.result.units import size

STOPPED_UNPACK_SECONDS = 60.0
"""The longest time for unpacking after a person stopped the run, because the person waits."""


def begin(plan: RunPlan, *, owner: Owner, outputs: Path, ports: RunPorts) -> RunState:
    """Quote the plan, show its price and its warnings, and return the state of the run."""
    quoted = quoting.quote(plan, ports.prices)
    ports.reporter.show_quote(plan, quote_text.in_one_line(plan, quoted))
    for warning in (*plan.warnings, *quoted.warnings):
        ports.reporter.warning(warning)
    return RunState(
        plan=plan,
        quote=quoted,
        owner=owner,
        outputs=outputs,
        ports=ports,
        timeline=Timeline(clock=ports.clock, started=ports.clock.monotonic()),
    )


def bring_models(state: RunState) -> None:
    """Have the plan's models in their bucket. Before a launch, no machine is billed while the hub sends."""
    models, ports = state.plan.models, state.ports
    if models.names and ports.models is not None:
        ports.models(models, state.owner.name, ports.reporter.notice)


def check_place(state: RunState, cloud: Cloud) -> None:
    """Refuse a bucket of checkpoints that does not exist. This computer itself may have no right to look into it."""
    place = recovery.checkpoint_plan(state).run_place
    if place is None or cloud.storage is None:
        return
    try:
        cloud.storage.checkpoints(place)
    except RequestRefused:
        raise
    except CvlError as error:
        state.facts.warnings.append(
            f"This computer cannot look at the checkpoints, so no report has them. {error.what}"
        )


def tell_files(plan: RunPlan, ports: RunPorts) -> None:
    total = size(sum(file.bytes for file in plan.files.staged))
    ports.reporter.progress(
        f"Sending {len(plan.files.staged)} file{'' if len(plan.files.staged) == 1 else 's'}, {total}."
    )
    if plan.files.not_sent:
        ports.reporter.progress(f"Not sent: {plan.files.not_sent}")


def refuse_missing_scripts(plan: RunPlan) -> None:
    """Refuse a plan whose named scripts are missing.

    A plan can come from an example.yaml alone; a run needs the named files.
    """
    work = plan.work
    if not work.missing_scripts:
        return
    if work.example:
        mistakes = [
            InputProblem(field="example", value=work.example, problem=f"has no {name}") for name in work.missing_scripts
        ]
        raise RequestError(mistakes, next_step="Run it from a checkout that holds the whole example.")
    files = [file.path for file in plan.files.staged]
    raise RequestError(
        [
            InputProblem(
                field="command",
                value=work.run_commands[0],
                problem=f"runs {name}, which is not among the {len(files)} files for the machine",
                near=similar(name, files),
            )
            for name in work.missing_scripts
        ],
        next_step="Add the file to the folder of the command. If it is there, send it with include.",
    )


@contextmanager
def failures_kept(state: RunState) -> Iterator[None]:
    """Turn an error, or a person's wish to stop, into a part of the outcome, once there is one."""
    try:
        yield
    except CvlError as error:
        if state.facts.failure is None:
            state.facts.failure = error
    except KeyboardInterrupt:
        state.facts.cancelled = True


@contextmanager
def under_lease(state: RunState, cloud: Cloud) -> Iterator[Lease]:
    """Keep the promise: record the lease, and release it with proof after any event."""
    lease = reuse.enter(state, cloud, lease_of=partial(_lease, state, cloud)) or _acquired(state, cloud)
    if state.lease is not lease:
        state.hold(lease)
    try:
        with failures_kept(state):
            yield lease
    finally:
        state.facts.release = release_or_keep(state, lease)


def _acquired(state: RunState, cloud: Cloud) -> Lease:
    """Return a new lease, after its record is written."""
    clock, checkpoints = state.ports.clock, recovery.checkpoint_plan(state)
    deadline = clock.now() + state.quote.deadline_minutes * 60
    no_buckets = {} if storage_rules.makes_buckets(state.plan) else {LABEL_BUCKETS: NO_BUCKETS}
    record = LeaseRecord(
        name=state.owner.name,
        labels={
            **state.owner.labels(deadline=deadline),
            **no_buckets,
            **reuse.labels(state),
            **detaching.labels_from_birth(state, deadline=deadline),
        },
        deadline=deadline,
        locations=(Location(cloud=cloud.through),) if cloud.through else state.plan.machines.locations,
        taken_at=clock.now(),
        checkpoints=checkpoints.run_place,
    )
    lease = _lease(state, cloud, record)
    lease.acquire()
    return lease


def _lease(state: RunState, cloud: Cloud, record: LeaseRecord) -> Lease:
    ports = state.ports
    return lease_on(cloud, record, records=ports.records, clock=ports.clock, say=state.facts.warnings.append)


def keeps_unwanted_machine(state: RunState) -> bool:
    """Return whether the run was stopped, or failed, after its machine was kept for a service or a detached job.

    No user would get the service's token, and no process would know of the job.
    """
    facts, release = state.facts, state.facts.release
    is_kept = release is not None and release.kept is not None
    stays = state.plan.service is not None or state.plan.detach.place is not None
    return stays and is_kept and (facts.cancelled or facts.failure is not None)


def end_unwanted_machine(state: RunState) -> None:
    """Release such a machine after its cloud was closed. If that fails, the outcome says that it is kept."""
    if state.lease is None or not keeps_unwanted_machine(state):
        return
    locations, user_id = state.plan.machines.locations, state.owner.user_id
    with failures_kept(state), state.ports.clouds.open(locations, user_id=user_id, watch=state.watch) as cloud:
        lease = _lease(state, cloud, state.lease.record)
        state.facts.release = release_or_keep(state, lease, maybe_created=True)


def release_or_keep(state: RunState, lease: Lease, *, maybe_created: bool = False) -> Release:
    """Keep the machine if the plan and the job's end say so, else release it.

    A person's second Ctrl-C starts the release again, so that it never stops half-way.
    `maybe_created`: another object of this lease requested the machines.
    """
    while True:
        try:
            kept_release = _kept_release(state, lease)
            if kept_release is not None:
                return kept_release
            state.enter(Phase.RELEASING)
            is_entered = state.sharing is not None and state.sharing.is_entered
            return lease.release(maybe_created=maybe_created or is_entered)
        except KeyboardInterrupt:
            state.facts.cancelled = True
            state.ports.reporter.warning("Still taking the machine down: stopping now would leave it running.")


def _kept_release(state: RunState, lease: Lease) -> Release | None:
    """Keep the machine only if its own job failed, or if the user wants to keep it after a success too."""
    if state.plan.service is not None:
        return serving.keep_service(state, lease)
    if state.plan.detach.place is not None:
        return detaching.hand_over(state, lease)
    if state.plan.machines.reuse is not None:
        return reuse.let_wait(state, lease)
    limits = state.plan.limits
    if not limits.keep_minutes or not state.facts.came_through or state.launches.current is None:
        return None
    ending = conclusion_so_far(state).ending
    if ending is not Ending.FAILED and not (limits.keeps_after_success and ending is Ending.SUCCEEDED):
        return None
    state.ports.reporter.notice(f"the job {ending.value}: cvl-ci keeps its machine")
    clock = state.ports.clock
    return keeping.keep(
        lease,
        plan=state.plan,
        launch=state.launches.current,
        spent_usd=spending.spent_before(state),
        clock=clock,
        say=state.facts.warnings.append,
    )


def unpack(state: RunState, cloud: Cloud, *, within: float = math.inf) -> None:
    """Unpack after the machines are gone: the machines' archives cannot delay their end. Ctrl-C ends the unpacking.

    `within`: the most seconds, where the machines wait for it.
    """
    try:
        with _stoppable(state):
            within = STOPPED_UNPACK_SECONDS if state.facts.cancelled else within
            state.facts.fetched = cloud.jobs.unpack(into=state.outputs, within=within)
    except UnpackStopped as stop:
        state.facts.fetched, state.facts.cancelled = stop.fetched, True
    except Exception as error:  # noqa: BLE001  a machine chose the files
        state.facts.warnings.append(f"The outputs could not be unpacked: {explain_while_running(error)}")


@contextmanager
def _stoppable(state: RunState) -> Iterator[None]:
    """Let one more signal of a person stop the present step, after the first signal has stopped the run."""
    with ExitStack() as stack:
        if state.facts.cancelled and state.ports.interruptible is not None:
            with suppress(KeyboardInterrupt):  # a program stopped the run, and no person
                stack.enter_context(state.ports.interruptible())
        yield
