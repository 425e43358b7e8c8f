"""Find the services of an environment by their labels, without state, and decide what a new one does about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvl_ci.errors import EngineError, InputProblem, RequestError
from cvl_ci.model.lease_name import LABEL_ENVIRONMENT, LABEL_KEPT, LABEL_LEASE, LABEL_OWNER, LABEL_RUN
from cvl_ci.model.location import Location
from cvl_ci.model.owner import Owner
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import Clouds, Event, Resource

Run = tuple[int, int]
"""The number of a workflow run, and its attempt. A later one is greater."""
_UNKNOWN: Run = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Occupant:
    """A lease of the environment. `is_kept`: its service answered, and it stays; else it is still on its way.

    `run`: None if its labels do not say it.
    """

    lease: str
    run: Run | None
    is_kept: bool


@dataclass(frozen=True, kw_only=True)
class Occupants:
    """The leases of an environment, and the providers' answers that show them."""

    leases: tuple[Occupant, ...]
    checks: tuple[ProviderCheck, ...]

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
    if silent:
        raise EngineError(
            f"The provider did not answer which services {owner.environment} has: {'; '.join(silent)}.",
            money="Nothing was started. An earlier service may still run, until its own end.",
            next_step="Run this job again.",
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
    leases = tuple(_occupant(name, of_lease) for name, of_lease in sorted(by_lease.items()))
    return Occupants(leases=leases, checks=answer.asked)


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
    newer = next((one for one in rest if one.lease not in older), None)
    return Decision(end_after=older if newer is None else (*older, owner.name), newer=newer)


def _occupant(lease: str, resources: Sequence[Resource]) -> Occupant:
    labels: Mapping[str, str] = resources[0].labels
    is_kept = any(resource.labels.get(LABEL_KEPT) for resource in resources)
    return Occupant(lease=lease, run=_run(labels.get(LABEL_RUN, "")), is_kept=is_kept)


def _run(label: str) -> Run | None:
    number, _, attempt = label.rpartition("-")
    is_known = number.isascii() and number.isdecimal() and attempt.isascii() and attempt.isdecimal()
    return (int(number), int(attempt)) if is_known and len(label) <= 40 else None


def _unwatched(event: Event) -> None:
    """Ignore the event: a search starts nothing."""
