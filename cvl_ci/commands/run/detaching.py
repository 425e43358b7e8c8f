"""Hand a run over to its machine once its job runs: it stays under its lease, and stores the results by itself."""

from __future__ import annotations

from dataclasses import replace

from cvl_ci.commands.run import keep_alive, spending
from cvl_ci.commands.run.state import RunState
from cvl_ci.errors import explain_while_running
from cvl_ci.lease import Lease
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import Detached
from cvl_ci.model.launch import Launch, Spending
from cvl_ci.model.lease_name import LABEL_DETACHED, LABEL_KEPT
from cvl_ci.model.outcome import Ending, Phase
from cvl_ci.model.release import Release
from cvl_ci.ports import Cloud
from cvl_ci.result.conclusion import Conclusion
from cvl_ci.result.units import moment


def labels_from_birth(state: RunState, *, deadline: float) -> dict[str, str]:
    """Return the labels of machines that a controller launches, which no later process can label; else none."""
    place = state.plan.detach.place
    if not state.plan.has_controller:
        return {}
    return {LABEL_KEPT: str(int(deadline)), **({LABEL_DETACHED: place.bucket} if place else {})}


def follow_until_it_runs(state: RunState, cloud: Cloud, *, until: float) -> bool:
    """Stream setup until the job itself runs on the machine. Return False if it ended before, or was lost."""
    state.facts.job = cloud.jobs.follow_until(
        watch=state.watch, until=until, enough=lambda: state.timeline.phase is Phase.RUNNING
    )
    return state.facts.job is None


def hand_over(state: RunState, lease: Lease) -> Release | None:
    """Keep the machine of a job that runs, until its own deadline. None: it is released."""
    facts, launch, place = state.facts, state.launches.current, state.plan.detach.of_run(lease.name)
    is_accepted = state.plan.detach.is_managed or state.timeline.phase is Phase.RUNNING
    is_running = is_accepted and facts.job is None
    if place is None or launch is None or not is_running or facts.failure is not None or facts.cancelled:
        return None
    clock = state.ports.clock
    machines = state.plan.machines
    lease.record = replace(
        lease.record,
        detached=Detached(
            place=place,
            title=state.plan.title,
            work=state.plan.identity,
            launch=launch,
            spending=Spending(
                attempts=tuple(state.launches.attempts),
                nodes=machines.num_nodes,
                disk_gb=machines.needs.largest_disk_gb,
                billed=state.cloud is None or state.cloud.billed,
            ),
            limits=state.plan.limits,
            directory=state.plan.work.directory,
            outputs=state.plan.files.outputs,
            began_at=clock.now(),
            estimated_usd=state.quote.max_usd,
        ),
    )
    is_managed = state.plan.detach.is_managed
    release = (
        _leave_to_server(state, lease, place=place) if is_managed else _keep_machine(state, lease, launch, place=place)
    )
    if release is None:
        lease.record = replace(lease.record, detached=None)
    return release


def _leave_to_server(state: RunState, lease: Lease, *, place: BucketAddress) -> Release | None:
    """Leave the job to the server's controller, once the server shows it. None, with a warning: it is released."""
    try:
        return lease.keep(until=lease.record.deadline, public_key=None, labels={LABEL_DETACHED: place.bucket})
    except Exception as error:  # noqa: BLE001  after any error: a job that the server does not show is never left alone
        state.facts.warnings.append(f"The API server does not show the job. {explain_while_running(error)}")
        return None


def _keep_machine(state: RunState, lease: Lease, launch: Launch, *, place: BucketAddress) -> Release | None:
    facts, clock = state.facts, state.ports.clock
    end = launch.end_before(lease.record.deadline)
    return keep_alive.keep(
        lease,
        plan=state.plan,
        launch=launch,
        spent_usd=spending.spent_before(state),
        clock=clock,
        say=facts.warnings.append,
        minutes=(end - clock.now()) / 60,
        labels={LABEL_DETACHED: place.bucket},
    )


def conclusion(state: RunState, *, of_job: Conclusion) -> Conclusion:
    """Return the conclusion of a run whose job goes on. `of_job`: of a job that was not detached."""
    facts = state.facts
    machines = facts.release.kept if facts.release is not None else None
    if state.plan.detach.place is None or facts.job is not None or facts.failure is not None or facts.cancelled:
        return of_job
    if state.lease is None or state.launches.current is None:
        return of_job
    if machines is None:
        reason = "The job ran, but its machine could not be left alone with it, so cvl-ci took it down."
        exit_code = of_job.exit_code or 70
        return Conclusion(ending=Ending.NEVER_STARTED, reason=reason, exit_code=exit_code)
    name, place = state.lease.name, state.plan.detach.of_run(state.lease.name)
    has_job = "The API server has the job." if state.plan.detach.is_managed else "The job runs."
    return Conclusion(
        ending=Ending.DETACHED,
        reason=f"{has_job} Its results go to {place}, by {moment(machines.until)} at most.",
        exit_code=0,
        advice=f"Fetch them when it is over: cvl-ci collect {name}",
    )
