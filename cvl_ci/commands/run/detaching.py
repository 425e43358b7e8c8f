"""Hand a run over to its machine once its job runs: it stays under its lease, and stores the results by itself."""

from __future__ import annotations

from dataclasses import replace

from cvl_ci.commands.run import keep_alive, spending
from cvl_ci.commands.run.state import RunState
from cvl_ci.lease import Lease
from cvl_ci.model.detached import Detached
from cvl_ci.model.launch import Spending
from cvl_ci.model.lease_name import LABEL_DETACHED
from cvl_ci.model.outcome import Ending, Phase
from cvl_ci.model.release import Release
from cvl_ci.ports import Cloud
from cvl_ci.result.conclusion import Conclusion
from cvl_ci.result.units import moment


def follow_until_it_runs(state: RunState, cloud: Cloud, *, until: float) -> bool:
    """Stream setup until the job itself runs on the machine. Return False if it ended before, or was lost."""
    state.facts.job = cloud.jobs.follow_until(
        watch=state.watch, until=until, enough=lambda: state.timeline.phase is Phase.RUNNING
    )
    return state.facts.job is None


def hand_over(state: RunState, lease: Lease) -> Release | None:
    """Keep the machine of a job that runs, until its own deadline. None: it is released."""
    facts, launch, place = state.facts, state.launches.current, state.plan.detach.of_run(lease.name)
    is_running = state.timeline.phase is Phase.RUNNING and facts.job is None
    if place is None or launch is None or not is_running or facts.failure is not None or facts.cancelled:
        return None
    clock = state.tools.clock
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
    end = launch.end_before(lease.record.deadline)
    release = keep_alive.keep(
        lease,
        plan=state.plan,
        launch=launch,
        spent_usd=spending.spent_before(state),
        clock=clock,
        say=facts.warnings.append,
        minutes=(end - clock.now()) / 60,
        labels={LABEL_DETACHED: place.bucket},
    )
    if release is None:
        lease.record = replace(lease.record, detached=None)
    return release


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
    return Conclusion(
        ending=Ending.DETACHED,
        reason=f"The job runs. Its results go to {place}, by {moment(machines.until)} at most.",
        exit_code=0,
        advice=f"Fetch them when it is over: cvl-ci collect {name}",
    )
