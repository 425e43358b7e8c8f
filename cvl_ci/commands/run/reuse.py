"""Enter the machine that waits for this run, replace it where it does not fit, and let it wait for the next run.

One process at a time uses the machine of a key, under a lock that ends with the process. Only a machine that its last
user left clean takes another run: its label says so. Any other one ends first, with proof.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata

from cvl_ci.commands.run import keep_alive, spending
from cvl_ci.commands.run.outcome import is_fit_for_another
from cvl_ci.commands.run.state import MachineSharing, RunState
from cvl_ci.errors import CapacityError, CvlError, EngineError, NotProvedGone, explain_while_running
from cvl_ci.lease import Lease
from cvl_ci.model.budget import Fleet
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.lease_name import LABEL_FINGERPRINT, LABEL_REUSE, LABEL_REUSER, LABEL_USE
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.model.reuse import IfBusy, MachineUse, ReusePlan, UseMark, UseState, lock_name
from cvl_ci.planning.reuse_words import needed_seconds
from cvl_ci.ports import Cloud, KeyLock, LaunchRequest, LeaseRecord
from cvl_ci.result.units import dollars, duration

LOOK_SECONDS = 1.0
SUBMIT_SECONDS = 300.0
"""A live machine has this long to get the files of its next job."""


def fingerprint(plan: RunPlan) -> str:
    """Return the digest of all that two runs must have in common for one machine: GPU, image, setup, disk, SkyPilot.

    The driver belongs to the image of the machine, which does not change while it lives.
    """
    machines = plan.machines
    facts = [
        repr(machines.needs),
        machines.num_nodes,
        sorted(map(str, machines.locations)),
        machines.spot.value,
        plan.work.image,
        plan.work.setup_commands,
        repr(sorted(plan.work.task_extra.items())),
        metadata.version("skypilot"),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@contextmanager
def key_held(state: RunState) -> Iterator[None]:
    """Hold the machine's key during a run. While another run has it, wait, or go on without the key, as asked."""
    reuse, locks = state.plan.machines.reuse, state.tools.locks
    if reuse is None:
        yield
        return
    if locks is None:
        raise EngineError("This entry point has no machines that wait between runs.")
    lock = _wait_for_lock(state, reuse)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _wait_for_lock(state: RunState, reuse: ReusePlan) -> KeyLock | None:
    locks, reporter, clock = state.tools.locks, state.tools.reporter, state.tools.clock
    name = lock_name(state.owner.user_id, reuse.key)
    begin, is_told = clock.monotonic(), False
    while locks is not None:
        if (lock := locks.take(name)) is not None:
            return lock
        if reuse.if_busy is IfBusy.NEW:
            reporter.show(f"reuse {reuse.key}: another run uses the machine, so this run has one of its own")
            limits = replace(state.plan.limits, keep_minutes=0.0, keeps_after_success=False)
            alone = replace(state.plan.machines, reuse=None)
            state.plan = replace(state.plan, machines=alone, limits=limits)
            return None
        if not is_told:
            reporter.show(f"reuse {reuse.key}: another run uses the machine; this run waits for it, and costs nothing")
            is_told = True
        if clock.monotonic() - begin > reuse.max_age_minutes * 60:
            break
        clock.sleep(LOOK_SECONDS)
    raise CapacityError(
        f"The machine of reuse {reuse.key} was in use for {duration(reuse.max_age_minutes * 60)}.",
        money="This run requested nothing.",
        next_step="Use `if_busy: new`, or another key.",
    )


def labels(state: RunState) -> dict[str, str]:
    """Return the labels that a new machine of a key has from its birth."""
    reuse = state.plan.machines.reuse
    if reuse is None:
        return {}
    use = UseMark(state=UseState.BUSY, number=1, since=state.tools.clock.now())
    own = {LABEL_REUSE: reuse.key, LABEL_REUSER: state.owner.user_id}
    return {**own, LABEL_FINGERPRINT: fingerprint(state.plan), LABEL_USE: str(use)}


def enter(state: RunState, cloud: Cloud, *, lease_of: Callable[[LeaseRecord], Lease]) -> Lease | None:
    """Return the lease of a machine that waits for this run, after it is entered. None: a new one is needed.

    Every other machine of the key ends first. Raises NotProvedGone if the provider does not show its end.
    """
    reuse = state.plan.machines.reuse
    if reuse is None:
        return None
    entered: Lease | None = None
    uncounted_usd = 0.0
    for record in _records(state, reuse):
        lease = lease_of(record)
        problem = "another machine of the key is newer" if entered else _problem(state, reuse, record)
        if not problem:
            try:
                _enter(state, cloud, lease, reuse)
            except CvlError as error:
                problem, state.lease = error.what, None
            else:
                entered = lease
        if problem:
            uncounted_usd += _end(state, lease, reuse, problem)
    if entered is not None and state.sharing is not None and state.sharing.use is not None:
        use = replace(state.sharing.use, uncounted_usd=uncounted_usd or None)
        state.sharing = replace(state.sharing, use=use)
    else:
        use = MachineUse(key=reuse.key, entered_at=state.tools.clock.now(), uncounted_usd=uncounted_usd or None)
        state.sharing = MachineSharing(limits=state.plan.limits, is_further=False, use=use)
        state.launches.current, state.launches.attempts = None, []
    return entered


def _records(state: RunState, reuse: ReusePlan) -> list[LeaseRecord]:
    """Return the open leases of the key in this repository, the newest first."""
    own = [
        record
        for record in state.tools.records.all()
        if record.released_at is None
        and record.labels.get(LABEL_REUSE) == reuse.key
        and record.labels.get(LABEL_REUSER) == state.owner.user_id
    ]
    return sorted(own, key=lambda record: -record.taken_at)


def _problem(state: RunState, reuse: ReusePlan, record: LeaseRecord) -> str:
    """Return why a machine cannot take this run; empty: it can, as far as its record tells."""
    now = state.tools.clock.now()
    use = UseMark.parse(record.labels.get(LABEL_USE, ""))
    if use is None or use.state is not UseState.IDLE:
        return "the run that used it last did not end in order"
    if record.labels.get(LABEL_FINGERPRINT) != fingerprint(state.plan):
        return "its GPU, image, setup, place, disk or SkyPilot is another"
    if record.deadline <= now:
        return f"it waited too long, and ended itself {duration(now - record.deadline)} ago"
    if record.taken_at + reuse.max_age_minutes * 60 < now + SUBMIT_SECONDS + needed_seconds(state.plan):
        return f"it is {duration(now - record.taken_at)} old, and this run could make it older than max_age"
    return ""


def _enter(state: RunState, cloud: Cloud, lease: Lease, reuse: ReusePlan) -> None:
    """Renew the machine's end for this run, mark it as used, and take it over. Raises CvlError."""
    now, record = state.tools.clock.now(), lease.record
    idle = UseMark.parse(record.labels.get(LABEL_USE, ""))
    if idle is None:
        raise EngineError("Its record does not tell who used it.")
    use = MachineUse(key=reuse.key, number=idle.number + 1, entered_at=now, idle_seconds=max(0.0, now - idle.since))
    state.sharing = MachineSharing(limits=state.plan.limits, is_further=True, use=use)
    state.lease = lease  # from here on, any end of this run releases it
    oldest = record.taken_at + reuse.max_age_minutes * 60
    until = min(now + SUBMIT_SECONDS + needed_seconds(state.plan), oldest)
    busy = UseMark(state=UseState.BUSY, number=use.number, since=now)
    beat = state.plan.limits.heartbeat_minutes
    lease.keep(until=until, public_key=None, labels={LABEL_USE: str(busy)}, heartbeat=beat)
    launch = cloud.machines.enter(
        LaunchRequest(
            plan=state.plan,
            cluster=lease.name,
            labels=lease.record.labels,
            staged=state.outputs,
            deadline=until,
            fence=state.tools.records.fence(lease.name),
            offers=state.quote.offers,
        )
    )
    launch = replace(launch, created_at=record.taken_at)
    use = replace(use, idle_usd=_usd(state, launch, seconds=use.idle_seconds, at=now))
    state.sharing = replace(state.sharing, use=use)
    state.launches.attempts = [_attempt(launch, at=now)]
    state.note_launch(launch)
    wait = duration(use.idle_seconds)
    cost = f" ({dollars(use.idle_usd)})" if use.idle_usd is not None and cloud.billed else ""
    state.tools.reporter.show(
        f"reuse {reuse.key}: use {use.number} of machine {lease.name}, which waited {wait}{cost}. "
        "The run before counted that wait."
    )


def _end(state: RunState, lease: Lease, reuse: ReusePlan, problem: str) -> float:
    """End a machine of the key, with proof, before another one can be requested.

    Return the dollars that no run counts, as far as they are known.
    """
    state.tools.reporter.show(f"reuse {reuse.key}: machine {lease.name} is not used again: {problem}")
    release = lease.release(maybe_created=True)
    if not release.gone:
        raise NotProvedGone(
            f"The provider did not show the end of machine {lease.name}, which reuse {reuse.key} replaces.",
            money="It may still run, and is billed. This run requested no machine.",
            next_step=f"End it with proof: cvl-ci down {lease.name}",
        )
    state.tools.reporter.show(f"reuse {reuse.key}: the provider shows that machine {lease.name} is gone")
    use = UseMark.parse(lease.record.labels.get(LABEL_USE, ""))
    if use is not None and use.state is UseState.IDLE:  # the run before counted its longest wait
        return 0.0
    since = use.since if use else lease.record.taken_at
    usd = spending.cost_since(state, release, since=since)
    amount = "an unknown price" if usd is None else f"about {dollars(usd)}"
    state.facts.warnings.append(
        f"The run that last used machine {lease.name} was killed, so it told no cost of the last "
        f"{duration(state.tools.clock.now() - since)}: {amount}. The cost of this run does not include it; "
        "`cvl-ci cost` does."
    )
    return usd or 0.0


def let_wait(state: RunState, lease: Lease) -> Release | None:
    """Let the machine wait for the next run, clean. None: it is not fit for one, and is released."""
    reuse, launch, sharing = state.plan.machines.reuse, state.launches.current, state.sharing
    if reuse is None or launch is None or state.cloud is None or sharing is None or sharing.use is None:
        return None
    if not is_fit_for_another(state):
        return None
    clock, use, say = state.tools.clock, sharing.use, state.facts.warnings.append
    rest = (lease.record.taken_at + reuse.max_age_minutes * 60 - clock.now()) / 60
    if rest < 1:
        say(f"The machine of reuse {reuse.key} has reached max_age, so cvl-ci takes it down.")
        return None
    try:
        state.cloud.machines.clean(lease.name)
    except Exception as error:  # noqa: BLE001  a machine in doubt takes no further run
        say(f"The machine is not clean for another run, so cvl-ci takes it down: {explain_while_running(error)}")
        return None
    minutes = min(reuse.idle_minutes, rest)
    return keep_alive.keep(
        lease,
        plan=state.plan,
        launch=replace(launch, created_at=use.entered_at or launch.created_at),
        spent_usd=0.0,
        clock=clock,
        say=say,
        minutes=minutes,
        labels={LABEL_USE: str(UseMark(state=UseState.IDLE, number=use.number, since=clock.now()))},
    )


def _attempt(launch: Launch, *, at: float) -> Attempt:
    """Return the machine as a request of this run, which pays for it from this moment on."""
    return Attempt(
        cloud=launch.cloud,
        region=launch.region,
        zone=launch.zone,
        instance_type=launch.instance_type,
        spot=launch.spot,
        hourly_usd=launch.hourly_usd,
        requested_at=at,
    )


def _usd(state: RunState, launch: Launch, *, seconds: float, at: float) -> float | None:
    if not launch.hourly_usd:
        return None
    fleet = Fleet(
        cloud=launch.cloud,
        hourly_usd=launch.hourly_usd,
        nodes=launch.num_nodes,
        disk_gb=state.plan.machines.needs.largest_disk_gb,
    )
    return fleet.cost_usd(seconds=seconds, at=at)
