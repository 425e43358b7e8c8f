"""Enter the machine that waits for this run, replace it where it does not fit, and let it wait for the next run.

One process at a time uses the machine of a key, under a lock that ends with the process. Only a machine that its last
user left clean takes another run: its label says so. Any other one ends first, with proof.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import metadata

from cvl_ci.commands.run import keep_alive, shared_machines, spending
from cvl_ci.commands.run.key_wait import Wait
from cvl_ci.commands.run.outcome import is_fit_for_another
from cvl_ci.commands.run.state import MachineSharing, RunState
from cvl_ci.errors import CvlError, EngineError, NotProvedGone, explain_while_running
from cvl_ci.lease import Lease
from cvl_ci.model.budget import Fleet
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.lease_name import LABEL_FINGERPRINT, LABEL_REUSE, LABEL_REUSER, LABEL_SHARED, LABEL_USE, SHARED
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.model.reuse import MachineUse, ReusePlan, UseMark, UseState
from cvl_ci.model.secret import Secret
from cvl_ci.planning.reuse_rules import needed_seconds
from cvl_ci.ports import Cloud, LaunchRequest, LeaseRecord
from cvl_ci.result.units import dollars, duration

LOOK_AT_PROVIDER_SECONDS = 10.0
ENTRY_SECONDS = 300.0
"""A run that takes a machine has moved its deadline by then. cvl-ci waits 240 s at most for the machine's answers."""
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
    if (reuse := machines.reuse) is not None and reuse.secret is not None:
        # Another version cleans other places, and another secret opens nothing.
        facts += [metadata.version("cvl-ci"), _digest_of(reuse.secret)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _digest_of(secret: Secret) -> str:
    """Return a text that differs for another secret. It tells neither the secret nor a key."""
    return hmac.digest(secret.reveal().encode(), b"cvl-ci: fingerprint, version 1", hashlib.sha256).hex()


def labels(state: RunState) -> dict[str, str]:
    """Return the labels that a new machine of a key has from its birth."""
    reuse = state.plan.machines.reuse
    if reuse is None:
        return {}
    use = UseMark(state=UseState.BUSY, number=1, since=state.ports.clock.now())
    own = {LABEL_REUSE: reuse.key, LABEL_REUSER: state.owner.user_id}
    if reuse.secret is not None:
        own[LABEL_SHARED] = SHARED
    return {**own, LABEL_FINGERPRINT: fingerprint(state.plan), LABEL_USE: str(use)}


def enter(state: RunState, cloud: Cloud, *, lease_of: Callable[[LeaseRecord], Lease]) -> Lease | None:
    """Return the lease of a machine that waits for this run, after it is entered. None: a new one is needed.

    Every other machine of the key ends first, unless a run uses it. Raises NotProvedGone if the provider does not show
    its end.
    """
    reuse = state.plan.machines.reuse
    if reuse is None:
        return None
    if reuse.secret is not None:
        entered = _enter_shared(state, cloud, reuse, lease_of)
    else:
        waiting = ((one, _problem(state, reuse, one.record)) for one in map(lease_of, _records_of_key(state, reuse)))
        entered = _enter_first(state, cloud, reuse, waiting)
    if entered is None:
        use = MachineUse(key=reuse.key, entered_at=state.ports.clock.now())
        is_alone = state.plan.machines.reuse is None
        new = MachineSharing(limits=state.plan.limits, is_further=False, use=use)
        state.sharing = None if is_alone else new
        state.launches.current, state.launches.attempts = None, []
    return entered


def _enter_first(
    state: RunState, cloud: Cloud, reuse: ReusePlan, candidates: Iterable[tuple[Lease, str]]
) -> Lease | None:
    """Enter the first of these machines that fits, and end the others. Each one comes with its problem, or none."""
    entered: Lease | None = None
    for lease, known_problem in candidates:
        last_use = UseMark.parse(lease.record.labels.get(LABEL_USE, ""))
        problem = "another machine of the key is newer" if entered else known_problem
        if not problem:
            try:
                _enter(state, cloud, lease, reuse)
            except CvlError as error:
                problem = error.what
            else:
                entered = lease
        if problem:
            if entered is None:  # a stop in the middle of its release releases it again, and names it
                _hold(state, lease, last_use)
            _end(state, lease, reuse, problem, last_use=last_use)
            state.lease = entered
    return entered


def _hold(state: RunState, lease: Lease, last_use: UseMark | None) -> None:
    """Let any end of this run release the machine. Of a shared one, the record says first that this run has it."""
    if shared_machines.is_shared(lease.record):
        shared_machines.note_own(state, lease, number=last_use.number + 1 if last_use is not None else 1)
    state.hold(lease)


def _enter_shared(
    state: RunState, cloud: Cloud, reuse: ReusePlan, lease_of: Callable[[LeaseRecord], Lease]
) -> Lease | None:
    """Enter a machine that any runner launched. Wait for one in use, or take a new one, as the plan says."""
    wait = Wait(state, reuse, look_seconds=LOOK_AT_PROVIDER_SECONDS)
    while True:
        records, is_complete = shared_machines.records_of_key(state, cloud, reuse)
        candidates, is_busy = _take_machines(state, cloud, reuse, map(lease_of, records))
        names = {record.name for record in records}
        vanished = [one for one in _records_of_key(state, reuse) if one.name not in names] if is_complete else []
        absent = [one for one in vanished if not shared_machines.may_live(cloud.inventory, one)]
        candidates += [(lease_of(one), "the provider does not show it any more") for one in absent]
        entered = _enter_first(state, cloud, reuse, candidates)
        if entered is not None or not is_busy:
            wait.end()
            return entered
        if not wait.goes_on():
            return None


def _take_machines(
    state: RunState, cloud: Cloud, reuse: ReusePlan, leases: Iterable[Lease]
) -> tuple[list[tuple[Lease, str]], bool]:
    """Take each machine that waits, so that no other run enters it. Return those that this run enters or ends.

    Each one comes with its problem, or none. Return too whether another run uses a machine. A run that did not end in
    order has its machine until the deadline. A machine without an answer may have a run, so it ends itself.
    """
    own, is_busy = list[tuple[Lease, str]](), False
    for lease in leases:
        use, problem = UseMark.parse(lease.record.labels.get(LABEL_USE, "")), _problem(state, reuse, lease.record)
        is_over = lease.record.deadline + ENTRY_SECONDS <= state.ports.clock.now()
        is_own = use is None or is_over
        if use is not None and use.state is UseState.IDLE:
            try:
                is_own = shared_machines.acquire(state, cloud, lease, number=use.number)
            except CvlError as error:
                problem = problem or f"it cannot be entered: {error.what}"
                if not is_over:
                    shared_machines.leave(state, lease, problem)
                    continue
        if is_own:
            own.append((lease, problem))
        is_busy = is_busy or not is_own
    return own, is_busy


def _records_of_key(state: RunState, reuse: ReusePlan) -> list[LeaseRecord]:
    """Return the open leases of the key in this repository, the newest first."""
    own = [
        record
        for record in state.ports.records.all()
        if record.released_at is None
        and record.labels.get(LABEL_REUSE) == reuse.key
        and record.labels.get(LABEL_REUSER) == state.owner.user_id
    ]
    return sorted(own, key=lambda record: -record.taken_at)


def _problem(state: RunState, reuse: ReusePlan, record: LeaseRecord) -> str:
    """Return why a machine cannot take this run; empty: it can, as far as its record tells."""
    now = state.ports.clock.now()
    use = UseMark.parse(record.labels.get(LABEL_USE, ""))
    if use is None or use.state is not UseState.IDLE:
        return "the run that used it last did not end in order"
    if record.labels.get(LABEL_FINGERPRINT) != fingerprint(state.plan):
        return "its GPU, image, setup, place, disk, version or secret is another"
    if record.deadline <= now:
        return f"it waited too long, and ended itself {duration(now - record.deadline)} ago"
    if record.taken_at + reuse.max_age_minutes * 60 < now + SUBMIT_SECONDS + needed_seconds(state.plan):
        return f"it is {duration(now - record.taken_at)} old, and this run could make it older than max_age"
    return ""


def _enter(state: RunState, cloud: Cloud, lease: Lease, reuse: ReusePlan) -> None:
    """Renew the machine's end for this run, mark it as used, and take it over. Raises CvlError."""
    now, record = state.ports.clock.now(), lease.record
    idle = UseMark.parse(record.labels.get(LABEL_USE, ""))
    if idle is None:
        raise EngineError("Its record does not tell who used it.")
    use = MachineUse(key=reuse.key, number=idle.number + 1, entered_at=now, idle_seconds=max(0.0, now - idle.since))
    state.sharing = MachineSharing(limits=state.plan.limits, is_further=True, use=use)
    _hold(state, lease, idle)
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
            fence=state.ports.records.fence(lease.name),
            offers=state.quote.offers,
        )
    )
    launch = replace(launch, created_at=record.taken_at)
    use = replace(use, idle_usd=_wait_usd(state, launch, seconds=use.idle_seconds, at=now))
    state.sharing = replace(state.sharing, use=use)
    state.launches.attempts = [_attempt(launch, at=now)]
    state.note_launch(launch)
    wait = duration(use.idle_seconds)
    cost = f" ({dollars(use.idle_usd)})" if use.idle_usd is not None and cloud.billed else ""
    state.ports.reporter.show(
        f"reuse {reuse.key}: use {use.number} of machine {lease.name}, which waited {wait}{cost}. "
        "The run before counted that wait."
    )


def _end(state: RunState, lease: Lease, reuse: ReusePlan, problem: str, *, last_use: UseMark | None) -> None:
    """End a machine of the key, with proof, before another one can be requested.

    `last_use`: of the run before. Note the dollars that no run counts, as far as they are known.
    """
    state.ports.reporter.show(f"reuse {reuse.key}: machine {lease.name} is not used again: {problem}")
    release = lease.release(maybe_created=True)
    if not release.gone:
        raise NotProvedGone(
            f"The provider did not show the end of machine {lease.name}, which reuse {reuse.key} replaces.",
            money="It may still run, and is billed. This run requested no machine.",
            next_step=f"End it with proof: cvl-ci down {lease.name}",
        )
    state.ports.reporter.show(f"reuse {reuse.key}: the provider shows that machine {lease.name} is gone")
    if last_use is not None and last_use.state is UseState.IDLE:  # the run before counted its longest wait
        return
    since = last_use.since if last_use else lease.record.taken_at
    usd = spending.cost_since(state, release, since=since)
    amount = (
        "no price is known. No sum includes it: the cloud's bill has it."
        if usd is None
        else f"about {dollars(usd)}. The cost of this run does not include it; `cvl-ci cost` does."
    )
    state.facts.warnings.append(
        f"The run that last used machine {lease.name} was killed, so it told no cost of the last "
        f"{duration(state.ports.clock.now() - since)}: {amount}"
    )
    if usd is not None:
        before = state.facts.uncounted.uncounted_usd or 0.0 if state.facts.uncounted else 0.0
        state.facts.uncounted = MachineUse(key=reuse.key, number=0, uncounted_usd=before + usd)


def let_wait(state: RunState, lease: Lease) -> Release | None:
    """Let the machine wait for the next run, clean. None: it is not fit for one, and is released.

    A stop or an error after the offer needs the machine back first: another run may have it by then.
    """
    release = None if shared_machines.is_offered(lease.record) else _offered(state, lease)
    use = state.sharing.use if state.sharing is not None else None
    if release is None and shared_machines.is_offered(lease.record) and state.cloud is not None and use is not None:
        return shared_machines.withdraw(state, state.cloud, lease, number=use.number)
    return release


def _offered(state: RunState, lease: Lease) -> Release | None:
    reuse, launch, sharing = state.plan.machines.reuse, state.launches.current, state.sharing
    if reuse is None or launch is None or state.cloud is None or sharing is None or sharing.use is None:
        return None
    if not is_fit_for_another(state):
        return None
    clock, use, say = state.ports.clock, sharing.use, state.facts.warnings.append
    rest = (lease.record.taken_at + reuse.max_age_minutes * 60 - clock.now()) / 60
    if rest < 1:
        say(f"The machine of reuse {reuse.key} has reached max_age, so cvl-ci takes it down.")
        return None
    try:
        state.cloud.machines.clean(lease.name)
        if reuse.secret is not None:
            shared_machines.offer(state, state.cloud, lease, number=use.number)
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


def _wait_usd(state: RunState, launch: Launch, *, seconds: float, at: float) -> float | None:
    """Return the cost of the machine's wait before this moment; None without a known price."""
    if not launch.hourly_usd:
        return None
    fleet = Fleet.of(launch, disk_gb=state.plan.machines.needs.largest_disk_gb)
    return fleet.cost_usd(seconds=seconds, at=at, before=max(0.0, at - seconds - launch.created_at))
