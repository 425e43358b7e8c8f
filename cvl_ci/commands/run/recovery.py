"""Recover a run whose machines the provider took away, or were broken: under the same lease, deadline and budget."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from cvl_ci.commands.run import spending
from cvl_ci.commands.run.state import RunState
from cvl_ci.lease import SETTLE_SECONDS, Lease
from cvl_ci.model.budget import Fleet
from cvl_ci.model.checkpoint_plan import CheckpointPlan, StoredCheckpoint, folder_of
from cvl_ci.model.fitness import Fitness
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.loss import LossKind, Lost, Recovery
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.result.ledger import Ends
from cvl_ci.result.machine_lives import lives_by_attempt

ATTEMPT_VARIABLE = "CVL_ATTEMPT"
"""The number of the machines that run the job, from 1."""
TASK_VARIABLE = "SKYPILOT_TASK_ID"
"""Constant over all machines of a run, as in SkyPilot's managed jobs (sky/skylet/constants.py, TASK_ID_ENV_VAR)."""
SHORTEST_SECONDS = 60.0
"""With less time for the job, a new machine is not worth its money."""
MOST_LOSSES = 2
"""After so many losses a place is not asked again."""
MOST_REPLACEMENTS = 2
"""The most launches that a run gives back because a machine was broken."""


def can_recover(state: RunState, *, deadline: float) -> bool:
    """Return whether new machines may follow: the provider showed the loss, and tries, time and money are left."""
    lost, launch = state.facts.lost, state.launches.current
    if lost is None or launch is None or not lost.is_proved:
        return False
    if state.launches.losses >= state.plan.machines.recoveries:
        return False
    return _is_worth_a_launch(state, launch, deadline=deadline)


def can_replace(state: RunState, *, deadline: float) -> bool:
    """Return whether other machines may follow broken ones, on which the job did not begin.

    A further job on a machine that other jobs had before it gets no other machine.
    """
    launch = state.launches.current
    is_further = state.sharing is not None and state.sharing.is_further
    if launch is None or is_further or state.launches.replacements >= MOST_REPLACEMENTS:
        return False
    return _is_worth_a_launch(state, launch, deadline=deadline)


def _is_worth_a_launch(state: RunState, launch: Launch, *, deadline: float) -> bool:
    """Return whether time and money of the run are left for the job on machines like these."""
    now, reserve = state.ports.clock.now(), RELEASE_MINUTES * 60
    usd = spending.spent_before(state) + _cost(state, launch, until=now)
    paid = spending.paid_seconds(state.plan, launch, spent_usd=usd)
    return min(_seconds_of_job(state), deadline - now - reserve, paid - reserve) >= SHORTEST_SECONDS


def unfinished_launch(state: RunState) -> Launch | None:
    """Return the machines of a launch that failed after the provider gave them, and before they had the job.

    None: every place refused, or the request is so new that the provider's list may lack its machines.
    """
    last = state.launches.attempts[-1] if state.launches.attempts else None
    if last is None or last.error is not None or last.is_bound:
        return None
    if state.ports.clock.now() - last.requested_at < SETTLE_SECONDS:
        return None
    return Launch(
        cluster=state.owner.name if state.lease is None else state.lease.name,
        cloud=last.cloud,
        region=last.region,
        zone=last.zone,
        instance_type=last.instance_type,
        accelerators={},
        spot=last.spot,
        num_nodes=state.plan.machines.num_nodes,
        hourly_usd=last.hourly_usd,
        created_at=last.requested_at,
    )


def existed(state: RunState, lease: Lease) -> bool:
    """Return whether the provider dates all machines of the latest request, ended ones too.

    A request that never arrived made none, so their absence shows no loss. SkyPilot removes no machine that it could
    not set up (sky/backends/cloud_vm_ray_backend.py, _provision). So a machine that existed and is missing was taken.
    """
    attempts = state.launches.attempts
    lives = lives_by_attempt(attempts, lease.dates().lives)
    return len(lives.get(len(attempts), ())) >= state.plan.machines.num_nodes


def asked_provider(state: RunState, lease: Lease, launch: Launch | None) -> Lost | None:
    """Return the loss of machines that do not answer, by the provider's own list; None: it shows them, or is silent.

    SkyPilot forgets a cluster once it notices that its machines are gone. Its records then answer no question.
    """
    if launch is None:
        return None
    count = lease.count_machines()
    if count is None or count >= launch.num_nodes:
        return None
    why = f"the provider shows {count} of its {launch.num_nodes} nodes"
    if state.ports.clock.now() >= lease.record.deadline:
        return Lost(kind=LossKind.ENDED_ITSELF, why=why)
    return Lost(kind=LossKind.PREEMPTED if launch.spot else LossKind.NODE_LOST, why=why)


def note_loss(state: RunState) -> None:
    """Record the loss of the current machines, before anything else happens to them."""
    if state.facts.lost is None:
        raise ValueError("there is no loss")
    _note(state, state.facts.lost)


def note_unfit(state: RunState) -> None:
    """Record that the current machines are given back, with the states of the broken ones."""
    job = state.facts.job
    if job is None or not job.unfit:
        raise ValueError("there is no broken machine")
    states = tuple(node.state for node in job.nodes if node.state and node.state.fitness is Fitness.BROKEN)
    _note(state, Lost(kind=LossKind.UNFIT, why=job.unfit, states=states))
    state.launches.broken += state.launches.attempts[-1:]


def _note(state: RunState, lost: Lost) -> None:
    launches, launch = state.launches, state.launches.current
    if launch is None:
        raise ValueError("there is no machine")
    now, before = state.ports.clock.now(), sum(recovery.ran_seconds for recovery in launches.recoveries)
    launches.recoveries.append(
        Recovery(
            number=launches.number,
            lost=lost,
            place="/".join(part for part in (launch.cloud, launch.zone or launch.region) if part),
            instance_type=launch.instance_type,
            spot=launch.spot,
            lost_at=now,
            ran_seconds=max(0.0, state.timeline.ran_seconds - before),
            usd=_cost(state, launch, until=now),
        )
    )
    if launches.attempts:
        last = launches.attempts[-1]
        launches.attempts[-1] = replace(
            last, error=f"{lost.kind.value}: {lost.why}", ended_at=now, machines=launch.num_nodes
        )


def note_gone(state: RunState, release: Release, *, copied: StoredCheckpoint | None) -> None:
    """Record the proof that the provider shows nothing of the lost machines, and the end of their bill before it.

    `copied`: the newest checkpoint on this computer.
    """
    launch, recoveries = state.launches.current, state.launches.recoveries
    ends = Ends(removed_at=release.at if release.removed_at is None else release.removed_at, gone_at=release.at)
    billed_until = ends.of(launch.cloud) if launch is not None else release.at
    usd = _cost(state, launch, until=billed_until) if launch is not None else recoveries[-1].usd
    resumed = recoveries[-1]
    if state.plan.checkpoints.on_runner:
        resumed = _with_newest(resumed, copied)
    elif release.checkpoints is not None and release.checkpoints.stored is not None:
        resumed = _with_newest(resumed, release.checkpoints.stored.newest)
    recoveries[-1] = replace(resumed, gone_at=release.at, usd=usd)
    if state.launches.attempts:
        state.launches.attempts[-1] = replace(state.launches.attempts[-1], ended_at=billed_until)


def plan_of_launch(state: RunState) -> RunPlan:
    """Return the plan for the next machines: the rest of the time limit, and variables that tell the job its number.

    Where several jobs use a machine, its money is that of all of them, and the job's own max_cost limits its time.
    """
    plan = replace(state.plan, checkpoints=checkpoint_plan(state))
    if state.sharing is not None and not state.sharing.is_first_use:
        minutes = min(plan.limits.max_runtime_minutes, spending.paid_minutes_of_job(state))
        limits = replace(plan.limits, max_runtime_minutes=minutes, max_cost_usd=state.sharing.limits.max_cost_usd)
        return replace(plan, limits=limits)
    if not plan.machines.recoveries and not state.launches.recoveries:
        return plan
    variables = {TASK_VARIABLE: f"cvl-ci-{state.owner.name}", ATTEMPT_VARIABLE: str(state.launches.number)}
    variables = variables if plan.machines.recoveries else {}
    return replace(
        plan,
        variables=replace(plan.variables, env={**variables, **plan.variables.env, **variables}),
        limits=replace(plan.limits, max_runtime_minutes=_seconds_of_job(state) / 60),
    )


def checkpoint_plan(state: RunState) -> CheckpointPlan:
    """Return the run's checkpoints, with their own folder and the number of the machines."""
    plan, owner = state.plan, state.owner
    folder = folder_of(title=plan.title, directory=plan.work.directory, leg=owner.leg, run=owner.name)
    return replace(plan.checkpoints, folder=folder, attempt=state.launches.number)


def avoided(state: RunState) -> tuple[Attempt, ...]:
    """Return the requests that are not repeated: refused ones, broken machines, and machines that were lost again."""
    came_up = [attempt for attempt in state.launches.attempts if attempt.error and attempt.machines]
    lost = Counter(map(_request, came_up))
    again = {request for request, count in lost.items() if count >= MOST_LOSSES}
    again |= {_request(attempt) for attempt in state.launches.broken}
    requests = {_request(attempt): attempt for attempt in state.launches.refused()}
    requests |= {_request(attempt): attempt for attempt in state.launches.attempts if _request(attempt) in again}
    return tuple(requests.values())


def _with_newest(recovery: Recovery, newest: StoredCheckpoint | None) -> Recovery:
    """Add the checkpoint from which the job goes on, and the seconds of the job that are done again."""
    since = recovery.ran_seconds if newest is None else max(0.0, recovery.lost_at - newest.at)
    return replace(
        recovery, checkpoint=newest.name if newest else "", repeated_seconds=min(since, recovery.ran_seconds)
    )


def _request(attempt: Attempt) -> tuple[object, ...]:
    return attempt.cloud, attempt.region, attempt.zone, attempt.instance_type, attempt.spot


def _seconds_of_job(state: RunState) -> float:
    return state.plan.limits.max_runtime_minutes * 60 - state.timeline.ran_seconds


def _cost(state: RunState, launch: Launch, *, until: float) -> float:
    fleet = Fleet.of(launch, disk_gb=state.plan.machines.needs.largest_disk_gb)
    return fleet.cost_usd(seconds=max(0.0, until - launch.created_at), at=until)
