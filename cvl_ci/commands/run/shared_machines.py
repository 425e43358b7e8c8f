"""Find the machine of a key at its provider, where any runner may have launched it, and take it for one run.

The provider's labels tell which machines wait. The machine itself decides which of two runs gets it. A run without an
answer of both takes a new machine.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from cvl_ci.commands.run.state import RunState
from cvl_ci.errors import CvlError, EngineError
from cvl_ci.lease import Lease
from cvl_ci.model.lease_name import (
    LABEL_BUCKETS,
    LABEL_DEADLINE,
    LABEL_LEASE,
    LABEL_REUSE,
    LABEL_REUSER,
    LABEL_SHARED,
    LABEL_USE,
    NO_BUCKETS,
    SHARED,
    is_lease,
)
from cvl_ci.model.location import Location
from cvl_ci.model.release import KeptMachines, Release
from cvl_ci.model.reuse import ReusePlan, UseMark, UseState
from cvl_ci.ports import Cloud, Inventory, LaunchRequest, LeaseRecord, Resource, ResourceKind, SharedMachines
from cvl_ci.result.units import moment

_LATEST = 1 << 40
"""Seconds since the epoch. A label is text of anybody with rights in the account."""


def port(cloud: Cloud) -> SharedMachines:
    if cloud.shared is None:
        raise EngineError("This cloud has no machines that several computers enter.")
    return cloud.shared


def records_of_key(state: RunState, cloud: Cloud, reuse: ReusePlan) -> tuple[list[LeaseRecord], bool]:
    """Return the leases of the key whose machines the provider shows, as their labels tell them; the newest first.

    Return too whether the provider showed all machines.
    """
    result = cloud.inventory.find(lease=None, locations=state.plan.machines.locations)
    resources, silent = result.read()
    unheard = (
        f"The provider did not list all machines ({'; '.join(silent)[:300]}). If one of reuse {reuse.key} is among "
        "them, it ends itself at its deadline."
    )
    if silent and unheard not in state.facts.warnings:
        state.facts.warnings.append(unheard)
    machines: dict[str, list[Resource]] = {}
    for resource in resources:
        lease = resource.labels.get(LABEL_LEASE, "")
        if resource.kind is ResourceKind.MACHINE and resource.is_leftover and is_lease(lease):
            labels = resource.labels
            is_own = labels.get(LABEL_REUSE) == reuse.key and labels.get(LABEL_REUSER) == state.owner.user_id
            if is_own and labels.get(LABEL_SHARED) == SHARED:
                machines.setdefault(lease, []).append(resource)
    newest_first = sorted((_record(*one) for one in machines.items()), key=lambda one: -one.taken_at)
    return newest_first, not silent


def _record(lease: str, nodes: list[Resource]) -> LeaseRecord:
    head = nodes[0]
    place = Location(cloud=head.provider, region=head.region)
    deadline = head.labels.get(LABEL_DEADLINE, "")
    return LeaseRecord(
        name=lease,
        labels=dict(head.labels),
        deadline=min(float(deadline), _LATEST) if deadline.isascii() and deadline.isdecimal() else 0.0,
        locations=(place,),
        taken_at=min(node.created_at or 0.0 for node in nodes),
        regions=(str(place),),
        knows_buckets=head.labels.get(LABEL_BUCKETS) == NO_BUCKETS,
    )


def acquire(state: RunState, cloud: Cloud, lease: Lease, *, number: int) -> bool:
    """Take a machine that waits after its use `number`. False: another run has taken it.

    Raises CvlError for a machine that this run cannot enter.
    """
    record = lease.record
    request = LaunchRequest(
        plan=state.plan,
        cluster=lease.name,
        labels=record.labels,
        staged=state.outputs,
        deadline=record.deadline,
        fence=state.ports.records.fence(lease.name),
        offers=state.quote.offers,
    )
    shared, is_taken = port(cloud), False
    try:
        shared.adopt(request, region=record.locations[0].region or "")
        is_taken = shared.change_use(lease.name, before=_waits(number), after=_is_used(state, number + 1))
    finally:
        if not is_taken:  # its key opens a machine that another run has
            _forget(shared, lease.name)
    return is_taken


def _forget(shared: SharedMachines, name: str) -> None:
    """Remove the key and SkyPilot's record of a machine that this run does not have. Its release needs neither."""
    with suppress(CvlError):
        shared.forget(name)


def offer(state: RunState, cloud: Cloud, lease: Lease, *, number: int) -> None:
    """Let the next run take the machine after this use. Raises CvlError: then it is not fit for one."""
    before = "" if number == 1 else _is_used(state, number)
    if not port(cloud).change_use(lease.name, before=before, after=_waits(number)):
        raise EngineError("The machine notes the use of another run.")


def is_shared(record: LeaseRecord) -> bool:
    return record.labels.get(LABEL_SHARED) == SHARED


def is_offered(record: LeaseRecord) -> bool:
    """Return whether its run began to let the machine wait. The labels at the provider tell whether it did."""
    use = UseMark.parse(record.labels.get(LABEL_USE, ""))
    return is_shared(record) and record.released_at is None and use is not None and use.state is UseState.IDLE


def note_own(state: RunState, lease: Lease, *, number: int) -> None:
    """Record that this run has the machine for its use `number`: then post ends it, also after a kill right now."""
    use = UseMark(state=UseState.BUSY, number=number, since=state.ports.clock.now())
    lease.record = replace(lease.record, labels={**lease.record.labels, LABEL_USE: str(use)})
    lease.acquire()


def marks(inventory: Inventory, record: LeaseRecord) -> list[str]:
    """Return the labels of the use on each living machine of a lease. Raises EngineError without an answer."""
    places = tuple(map(Location.parse, record.regions)) or record.locations
    resources, silent = inventory.find(lease=record.name, locations=places).read()
    machines = [one for one in resources if one.kind is ResourceKind.MACHINE and one.is_leftover]
    if silent and not machines:
        raise EngineError(f"The provider does not tell whether a run uses machine {record.name}: {'; '.join(silent)}")
    return [one.labels.get(LABEL_USE, "") for one in machines]


def may_be_taken(inventory: Inventory, record: LeaseRecord) -> bool:
    """Return whether another run may have the machine of an offered record. Raises EngineError without an answer."""
    own = UseMark.parse(record.labels.get(LABEL_USE, ""))
    uses = map(UseMark.parse, marks(inventory, record))
    return not all(own is not None and use is not None and use.is_before_end_of(own.number) for use in uses)


def may_live(inventory: Inventory, record: LeaseRecord) -> bool:
    """Return whether another run may use a machine of an own record that the list of the plan's places lacks.

    This computer's lock alone protects a machine that is not shared.
    """
    try:
        return is_shared(record) and bool(marks(inventory, record))
    except CvlError:
        return True


def leave(state: RunState, lease: Lease, problem: str) -> None:
    """Tell that this run neither enters nor ends a machine that does not answer."""
    state.ports.reporter.show(
        f"machine {lease.name} is left alone: {problem}. Another run may have it. If none has, it ends itself by "
        f"{moment(lease.record.deadline)}. To end it now: cvl-ci down {lease.name}"
    )


def withdraw(state: RunState, cloud: Cloud, lease: Lease, *, number: int) -> Release | None:
    """Take back an offered machine, before its release. Return the end of a run that leaves it to another one.

    None: this run has it. Only the provider's labels or the machine itself can tell that.
    """
    try:
        is_own = not may_be_taken(cloud.inventory, lease.record)
    except CvlError:
        is_own = False
    try:
        is_own = is_own or port(cloud).change_use(lease.name, before=_waits(number), after=_is_used(state, number))
    except CvlError:
        is_own = False
    if is_own:
        note_own(state, lease, number=number)
        return None
    until = lease.record.deadline
    state.facts.warnings.append(
        f"Another run may have machine {lease.name} already, so this run does not end it. It ends itself: unless "
        f"another run uses it, by {moment(until)}."
    )
    return Release(gone=False, at=state.ports.clock.now(), kept=KeptMachines(until=until))


def _waits(number: int) -> str:
    return f"{UseState.IDLE.value}-{number}"


def _is_used(state: RunState, number: int) -> str:
    return f"{UseState.BUSY.value}-{number}-{state.owner.name}"
