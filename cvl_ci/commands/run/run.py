"""Run a plan: quote → lease → launch → stream → fetch → outcome. After any event the machine is gone, with proof."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cvl_ci.commands.plan import month, quote_text
from cvl_ci.commands.plan import quote as planning
from cvl_ci.commands.run import keep_alive as keeping
from cvl_ci.commands.run import mount_sources, recovery, serving, spending
from cvl_ci.commands.run.outcome import judge_so_far, outcome
from cvl_ci.commands.run.stages import Stages
from cvl_ci.commands.run.state import RunPorts, RunState, Timeline
from cvl_ci.errors import CvlError, InputProblem, RequestError, RequestRefused, explain_while_running
from cvl_ci.lease import Lease
from cvl_ci.model.lease_name import LABEL_BUCKETS, NO_BUCKETS
from cvl_ci.model.location import Location
from cvl_ci.model.outcome import Ending, Outcome, Phase
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.planning import storage_rules
from cvl_ci.ports import Cloud, LeaseRecord, UnpackStopped
from cvl_ci.result.no_follow import refuse_links
from cvl_ci.result.units import size

__all__ = ["RunPorts", "run"]

STOPPED_UNPACK_SECONDS = 60.0
"""The longest time for unpacking after a person stopped the run, because the person waits."""


def run(plan: RunPlan, *, owner: Owner, outputs: Path, tools: RunPorts) -> Outcome:
    """Carry out one plan.

    It raises CvlError only before any cost is possible. Afterwards it returns an Outcome.
    """
    _refuse_unseen(plan)
    month.require_known(plan)
    refuse_links(outputs, *(outputs.with_name(f"{outputs.name}.{kind}") for kind in ("log", "json")))
    quoted = planning.quote(plan, tools.prices)
    tools.workflow.quoted(plan, quote_text.in_one_line(plan, quoted))
    for warning in (*plan.warnings, *quoted.warnings):
        tools.workflow.warning(warning)
    state = RunState(
        plan=plan,
        quote=quoted,
        owner=owner,
        outputs=outputs,
        tools=tools,
        timeline=Timeline(clock=tools.clock, started=tools.clock.monotonic()),
    )
    if plan.machines.is_on_sandbox:
        state.enter(Phase.SANDBOX)
    with (
        _failures_kept(state),
        tools.clouds.open(plan.machines.locations, user_id=owner.user_id, watch=state.watch) as cloud,
    ):
        state.cloud = cloud
        try:
            with _failures_kept(state):
                cloud.machines.warm()
                state.enter(Phase.STAGING)
                if plan.models.names and tools.models is not None:
                    # Before a machine exists, so that no machine is billed while the hub sends.
                    tools.models(plan.models, owner.name, tools.workflow.notice)
                mount_sources.require(plan, cloud.storage, tools.workflow.progress)
                _check_place(state, cloud)
                _tell_files(plan, tools)
                with (
                    tools.staging.staged(plan.files.staged, commits=plan.files.commits) as staged,
                    _lease(state, cloud) as lease,
                ):
                    Stages(state, cloud, lease, staged).carry_out()
                _unpack(state, cloud)
        finally:
            # Needed only if a signal came between the end of the work and the beginning of the release.
            if state.lease is not None and state.facts.release is None:
                state.facts.release = _released(state, state.lease)
    state.enter(None)
    result = outcome(state)
    try:
        tools.workflow.show_outcome(result)
    except Exception as error:  # noqa: BLE001  the end of the run does not depend on the report about it
        tools.workflow.warning(f"The end of the run could not be reported completely: {explain_while_running(error)}")
    return result


def _check_place(state: RunState, cloud: Cloud) -> None:
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


def _tell_files(plan: RunPlan, tools: RunPorts) -> None:
    total = size(sum(file.bytes for file in plan.files.staged))
    tools.workflow.progress(
        f"Sending {len(plan.files.staged)} file{'' if len(plan.files.staged) == 1 else 's'}, {total}."
    )
    if plan.files.not_sent:
        tools.workflow.progress(f"Not sent: {plan.files.not_sent}")


def _refuse_unseen(plan: RunPlan) -> None:
    """Refuse a plan whose files are missing.

    A plan can come from an example.yaml alone; a run needs the named files.
    """
    if plan.work.missing_scripts:
        raise RequestError(
            [
                InputProblem(field="example", value=plan.work.example or plan.title, problem=f"has no {name}")
                for name in plan.work.missing_scripts
            ],
            next_step="Run it from a checkout that holds the whole example.",
        )


@contextmanager
def _failures_kept(state: RunState) -> Iterator[None]:
    """Turn an error, or a person's wish to stop, into a part of the outcome, once there is one."""
    try:
        yield
    except CvlError as error:
        if state.facts.failure is None:
            state.facts.failure = error
    except KeyboardInterrupt:
        state.facts.cancelled = True


@contextmanager
def _lease(state: RunState, cloud: Cloud) -> Iterator[Lease]:
    """Keep the promise: record the lease, and release it with proof after any event."""
    clock, checkpoints = state.tools.clock, recovery.checkpoint_plan(state)
    deadline = clock.now() + state.quote.deadline_minutes * 60
    no_buckets = {} if storage_rules.makes_buckets(state.plan) else {LABEL_BUCKETS: NO_BUCKETS}
    record = LeaseRecord(
        name=state.owner.name,
        labels={**state.owner.labels(deadline=deadline), **no_buckets},
        deadline=deadline,
        locations=(Location(cloud=cloud.through),) if cloud.through else state.plan.machines.locations,
        taken_at=clock.now(),
        checkpoints=checkpoints.run_place,
    )
    lease = Lease(
        record,
        machines=cloud.machines,
        inventory=cloud.inventory,
        records=state.tools.records,
        clock=clock,
        say=state.facts.warnings.append,
        storage=cloud.storage,
    )
    lease.acquire()
    state.lease = lease
    try:
        with _failures_kept(state):
            yield lease
    finally:
        state.facts.release = _released(state, lease)


def _released(state: RunState, lease: Lease) -> Release:
    """Release the machine. A person's second Ctrl-C starts the release again, so that it never stops half-way."""
    while True:
        try:
            kept_release = _kept_release(state, lease)
            if kept_release is not None:
                return kept_release
            state.enter(Phase.RELEASING)
            return lease.release()
        except KeyboardInterrupt:
            state.facts.cancelled = True
            state.tools.workflow.warning("Still taking the machine down: stopping now would leave it running.")


def _kept_release(state: RunState, lease: Lease) -> Release | None:
    """Keep the machine only if its own job failed, or if the user wants to keep it after a success too."""
    if state.plan.service is not None:
        return serving.keep_service(state, lease)
    limits = state.plan.limits
    if not limits.keep_minutes or not state.facts.came_through or state.launches.current is None:
        return None
    ending = judge_so_far(state).ending
    if ending is not Ending.FAILED and not (limits.keeps_after_success and ending is Ending.SUCCEEDED):
        return None
    state.tools.workflow.notice(f"the job {ending.value}: cvl-ci keeps its machine")
    clock = state.tools.clock
    return keeping.keep(
        lease,
        plan=state.plan,
        launch=state.launches.current,
        spent_usd=spending.spent_before(state),
        clock=clock,
        say=state.facts.warnings.append,
    )


def _unpack(state: RunState, cloud: Cloud) -> None:
    """Unpack after the machines are gone: the machines' archives cannot delay their end. Ctrl-C ends the unpacking."""
    try:
        with _stoppable(state):
            within = STOPPED_UNPACK_SECONDS if state.facts.cancelled else math.inf
            state.facts.fetched = cloud.jobs.unpack(into=state.outputs, within=within)
    except UnpackStopped as stop:
        state.facts.fetched, state.facts.cancelled = stop.fetched, True
    except Exception as error:  # noqa: BLE001  a machine chose the files
        state.facts.warnings.append(f"The outputs could not be unpacked: {explain_while_running(error)}")


@contextmanager
def _stoppable(state: RunState) -> Iterator[None]:
    """Let one more signal of a person stop the present step, after the first signal has stopped the run."""
    with ExitStack() as stack:
        if state.facts.cancelled and state.tools.interruptible is not None:
            with suppress(KeyboardInterrupt):  # a program stopped the run, and no person
                stack.enter_context(state.tools.interruptible())
        yield
