"""Find the services of an environment by their labels, without state, and decide what a new one does about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvl_ci.errors import EngineError, InputProblem, RequestError
from cvl_ci.model.lease_name import (
    CLUSTER_TAG,
    LABEL_ENVIRONMENT,
    LABEL_KEPT,
    LABEL_LEASE,
    LABEL_OWNER,
    LABEL_RUN,
    is_of_replica,
)
from cvl_ci.model.location import REPLICATED, Location
from cvl_ci.model.owner import Owner
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import Clouds, Event, Resource

Run = tuple[int, int]
"""The number of a workflow run, and its attempt. A later one is greater."""
_UNKNOWN: Run = (0, 0)
_LEAVE_OUT = " If these credentials of a cloud may not look at machines, leave them out: the API server needs none."
_READY = "ready"
"""The state of a service with several replicas of which one is ready (sky/serve/serve_state.py, ServiceStatus)."""


@dataclass(frozen=True, kw_only=True)
class Occupant:
    """A lease of the environment. `is_kept`: its service answered, and it stays; else it is still on its way.

    `run`: None if its labels do not say it. Several replicas have all labels from their birth, so they count as kept:
    a service that answered before and has lost its replicas must not end before the next one answers. `is_ready`:
    whether the provider shows that it answers now.
    """

    lease: str
    run: Run | None
    is_kept: bool
    is_ready: bool


@dataclass(frozen=True, kw_only=True)
class Occupants:
    """The leases of an environment, and the providers' answers that show them.

    `out_of_reach`: services with several replicas whose machines a cloud shows. Their server was not asked, and its
    controller replaces each machine that ends.
    """

    leases: tuple[Occupant, ...]
    checks: tuple[ProviderCheck, ...]
    out_of_reach: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.lease for one in self.leases)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The leases to end before and after the new service. `newer`: a later run has the environment."""

    end_first: tuple[str, ...] = ()
    end_after: tuple[str, ...] = ()
    newer: Occupant | None = None


def find(owner: Owner, *, locations: Sequence[Location], clouds: Clouds) -> Occupants:
    """Return the leases of the owner's environment. Raise EngineError unless each provider answers."""
    with clouds.open(locations, user_id=owner.user_id, watch=_unwatched) as cloud:
        answer = cloud.inventory.find(lease=None, locations=locations)
    resources, silent = answer.read()
    has_server = any(location.cloud == REPLICATED for location in locations)
    has_both = has_server and any(location.cloud != REPLICATED for location in locations)
    if silent:
        raise EngineError(
            f"The provider did not answer which services {owner.environment} has: {'; '.join(silent)}.",
            money="Nothing was started. An earlier service may still run, until its own end.",
            next_step="Run this job again." + (_LEAVE_OUT if has_both else ""),
        )
    own_labels = {name: owner.labels(deadline=0.0)[name] for name in (LABEL_OWNER, LABEL_ENVIRONMENT)}
    own = [
        resource
        for resource in resources
        if resource.is_leftover and own_labels.items() <= resource.labels.items() and resource.labels.get(LABEL_LEASE)
    ]
    by_lease: dict[str, list[Resource]] = {}
    for resource in own:
        by_lease.setdefault(resource.labels[LABEL_LEASE], []).append(resource)
    out_of_reach = (
        () if has_server else tuple(sorted(name for name, of_lease in by_lease.items() if _is_replicas(of_lease)))
    )
    leases = tuple(_occupant(name, of_lease) for name, of_lease in sorted(by_lease.items()) if name not in out_of_reach)
    return Occupants(leases=leases, checks=answer.asked, out_of_reach=out_of_reach)


def decide(occupants: Sequence[Occupant], owner: Owner) -> Decision:
    """Return what a new service of this owner does about the rest. Raise RequestError for two of one run.

    A service that answers stays until the new one answers. One on its way to an older commit ends first.
    """
    own = _run(f"{owner.run}-{owner.attempt}")
    rest = [one for one in occupants if one.lease != owner.name]
    same = next((one for one in rest if own is not None and one.run == own), None)
    if same is not None:
        problem = "is the environment of another job or step of this run: give each an `environment` of its own"
        raise RequestError([InputProblem(field="environment", value=owner.environment, problem=problem)])
    newer = next((one for one in rest if own and one.run and one.run > own), None)
    if newer is not None:
        return Decision(newer=newer)
    return Decision(
        end_first=tuple(one.lease for one in rest if not one.is_kept),
        end_after=tuple(one.lease for one in rest if one.is_kept),
    )


def settle(occupants: Sequence[Occupant], owner: Owner) -> Decision:
    """Return what a service that answers does about the others that answer: of two at the same time, one stays.

    Both ask after they answer, so at least one sees the other. The order of runs, then of leases, is the same for both.
    """
    own = (_run(f"{owner.run}-{owner.attempt}") or _UNKNOWN, owner.name)
    rest = [one for one in occupants if one.lease != owner.name and one.is_kept]
    older = tuple(one.lease for one in rest if (one.run or _UNKNOWN, one.lease) < own)
    newer = next((one for one in rest if one.lease not in older and one.is_ready), None)
    return Decision(end_after=older if newer is None else (*older, owner.name), newer=newer)


def _occupant(lease: str, resources: Sequence[Resource]) -> Occupant:
    labels: Mapping[str, str] = resources[0].labels
    is_kept = any(resource.labels.get(LABEL_KEPT) for resource in resources)
    services = [resource for resource in resources if resource.provider == REPLICATED]
    is_ready = any(service.state == _READY for service in services) if services else is_kept
    return Occupant(lease=lease, run=_run(labels.get(LABEL_RUN, "")), is_kept=is_kept, is_ready=is_ready)


def _is_replicas(resources: Sequence[Resource]) -> bool:
    """Return whether a cloud's machines are replicas of a service, by the name of their clusters."""
    return any(is_of_replica(one.labels.get(CLUSTER_TAG, ""), one.labels[LABEL_LEASE]) for one in resources)


def _run(label: str) -> Run | None:
    number, _, attempt = label.rpartition("-")
    is_known = number.isascii() and number.isdecimal() and attempt.isascii() and attempt.isdecimal()
    return (int(number), int(attempt)) if is_known and len(label) <= 40 else None


def _unwatched(event: Event) -> None:
    """Ignore the event: a search starts nothing."""
