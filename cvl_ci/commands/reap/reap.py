"""Reap resources that outlived their run, on any runner and without state, by labels, the clock and GitHub.

No reaper writes the mark that precedes a sweep. So no pass can lose it, and no two reapers can differ about it. It is
the deadline, which the lease wrote on the machine at birth, or the moment at which GitHub completed the run. The grace
begins at that moment. No permission to write labels is needed, and a leak does not cost a second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cvl_ci.commands.plan.quote import catalogue_hourly_usd
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs import locations as places
from cvl_ci.inputs import parsers
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.lease import sweep
from cvl_ci.model.billing import BilledUntil, rules_of
from cvl_ci.model.lease_name import (
    LABEL_DEADLINE,
    LABEL_ENVIRONMENT,
    LABEL_KEPT,
    LABEL_LEASE,
    LABEL_OWNER,
    LABEL_RUN,
    pull_request_of,
)
from cvl_ci.model.ledger import CostKind, Ledger
from cvl_ci.model.location import Location
from cvl_ci.model.owner import owner_label
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import Clock, Clouds, Event, Prices, Resource, RunReporter
from cvl_ci.ports.pull_requests import PullRequests
from cvl_ci.result.leftover_ledger import of_resources

CLOSED_SECONDS = 120.0
"""The longest grace of a preview after its pull request closed: so long the workflow of the close may need."""


class Runs(Protocol):
    """The port that only this command needs: GitHub's answer about a workflow run of this repository."""

    def ended_at(self, run: str, attempt: str) -> float | None:
        """Return when this attempt was completed.

        None: it was not completed, or the answer is unknown. An unknown answer is never an end.
        """


@dataclass(frozen=True, kw_only=True)
class ReapPorts:
    """Ports that reaping needs. `runs`, `pulls` None: GitHub is not asked, and only deadlines decide."""

    clouds: Clouds
    prices: Prices
    reporter: RunReporter
    clock: Clock
    runs: Runs | None = None
    pulls: PullRequests | None = None


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One lease whose end has come. `over_at`: its deadline, its run's end or its pull request's.

    `grace`: seconds that it still has from then on. `ledger`: its cost so far.
    """

    lease: str
    run: str
    owner: str
    why: str
    over_at: float
    resources: tuple[Resource, ...]
    ledger: Ledger
    grace: float = 0.0

    def is_due(self, now: float) -> bool:
        return self.over_at + self.grace <= now

    @property
    def usd(self) -> float | None:
        """Return the cost so far; None if no machine of it has a known price."""
        return known_usd(self.ledger)


@dataclass(frozen=True, kw_only=True)
class Reaped:
    """Result. `due`: removed, or to be removed after a dry run. `marked`: over, still in its grace.

    `remaining`: not proved gone.
    """

    at: float
    asked_at: float
    """The moment of the last answer. The resources were judged at `at`."""
    dry_run: bool
    due: tuple[Suspect, ...] = ()
    marked: tuple[Suspect, ...] = ()
    living: int = 0
    foreign_count: int = 0
    unlabelled: tuple[Resource, ...] = ()
    remaining: tuple[Resource, ...] = ()
    checks: tuple[ProviderCheck, ...] = ()
    unproved: tuple[str, ...] = ()
    silent: tuple[str, ...]
    """The clouds without a complete answer, at the first or the last check.

    It has no default, so that no caller omits it.
    """

    @property
    def proved(self) -> bool:
        """Return whether every cloud answered, and no due resource is left."""
        return not (self.remaining or self.silent)


def read_request(
    cloud: str, *, grace: str, regions: Callable[[str], Sequence[str]], dashes: str = ""
) -> tuple[tuple[Location, ...], float]:
    """Return the places and the grace in seconds, from the user's words.

    Without a named place the tuple is empty. RequestError lists all mistakes at once. `dashes`: the prefix of input
    names as the user typed them.
    """
    mistakes, locations, minutes = [], tuple[Location, ...](), 0.0
    try:
        locations = places.read(cloud) if cloud.strip() else ()
        for location in locations:
            places.check_regions(location, regions)
    except Wrong as wrong:
        mistakes.append(
            InputProblem(field=f"{dashes}cloud", value=wrong.display or cloud, problem=str(wrong), near=wrong.near)
        )
    try:
        minutes = 0.0 if grace.strip() in {"0", "0s", "0m"} else parsers.minutes(grace)
    except Wrong as wrong:
        mistakes.append(InputProblem(field=f"{dashes}grace", value=grace, problem=str(wrong), near=wrong.near))
    if mistakes:
        raise RequestError(mistakes)
    return locations, minutes * 60


def reap(
    locations: Sequence[Location],
    *,
    owner: str | None,
    repository: str,
    named: bool,
    grace: float,
    dry_run: bool,
    user_id: str,
    ports: ReapPorts,
) -> Reaped:
    """Reap. `owner` None: of all owners. `repository`: the one whose runs `ports.runs` knows.

    `named`: the user typed the owner, so it must match if any lease exists.
    """
    with ports.clouds.open(locations, user_id=user_id, watch=_silent) as cloud:
        inventory, now = cloud.inventory, ports.clock.now()
        answer = inventory.find(lease=None, locations=locations)
        resources, silent = answer.read()
        alive = [resource for resource in resources if resource.is_leftover]
        labelled = [resource for resource in alive if LABEL_LEASE in resource.labels]
        own = _of(labelled, owner, named=named)
        suspects = [_suspect(lease, repository, now, ports, grace=grace) for lease in _by_lease(own).values()]
        over = [suspect for suspect in suspects if suspect is not None]
        due = tuple(suspect for suspect in over if suspect.is_due(now))
        checks, leftovers = answer.asked, tuple[Resource, ...]()
        if due and not dry_run:
            to_remove = [resource for suspect in due for resource in suspect.resources]
            after = sweep(
                to_remove, inventory=inventory, locations=locations, clock=ports.clock, say=ports.reporter.warning
            )
            leftovers, still_silent = after.read()
            # A cloud that was silent at the first check was not judged by it, even if it answers later.
            checks = (*after.asked, *(one for one in answer.asked if one.error is not None))
            silent = (*silent, *still_silent)
            due = tuple(_at_its_end(one, leftovers, begun=now, ports=ports) for one in due)
    return Reaped(
        at=now,
        asked_at=ports.clock.now(),
        dry_run=dry_run,
        due=due,
        marked=tuple(suspect for suspect in over if not suspect.is_due(now)),
        living=len(_by_lease(own)) - len(over),
        foreign_count=len(labelled) - len(own),
        unlabelled=tuple(resource for resource in alive if LABEL_LEASE not in resource.labels),
        remaining=leftovers,
        checks=checks,
        unproved=answer.unproved,
        silent=silent,
    )


def _of(labelled: Sequence[Resource], owner: str | None, *, named: bool) -> list[Resource]:
    if owner is None:
        return list(labelled)
    label = owner_label(owner)
    own = [resource for resource in labelled if resource.labels.get(LABEL_OWNER) == label]
    if named and labelled and not own:
        near = tuple(sorted({resource.labels.get(LABEL_OWNER, "nobody") for resource in labelled}))[:3]
        problem = "matches nothing, although there are leases of others"
        raise RequestError([InputProblem(field="owner", value=owner, problem=problem, near=near)])
    return own


def _by_lease(resources: Sequence[Resource]) -> Mapping[str, list[Resource]]:
    leases: dict[str, list[Resource]] = {}
    for resource in resources:
        leases.setdefault(resource.labels[LABEL_LEASE], []).append(resource)
    return leases


def _suspect(
    resources: Sequence[Resource], repository: str, now: float, ports: ReapPorts, *, grace: float
) -> Suspect | None:
    """Return the suspect, or None.

    Each machine of a lease has the same labels; of different moments, the latest counts.
    """
    labels = resources[0].labels
    deadline, kept_until = _latest(resources, LABEL_DEADLINE), _latest(resources, LABEL_KEPT)
    run, _, attempt = labels.get(LABEL_RUN, "").rpartition("-")
    over_at, why = None, ""
    if deadline is not None and deadline <= now:
        over_at, why = deadline, "is past its deadline"
    elif (closed_at := _closed_at(labels, repository, ports)) is not None:
        over_at, grace = closed_at, min(grace, CLOSED_SECONDS)
        why = f"is the preview {labels[LABEL_ENVIRONMENT]}, whose pull request is closed"
    elif kept_until is not None and kept_until > now:
        pass  # its run is over, and a person may still be looking at it
    elif ports.runs and run.isdecimal() and labels.get(LABEL_OWNER) == owner_label(repository):
        over_at, why = ports.runs.ended_at(run, attempt), f"is of run {run}, attempt {attempt}, which is completed"
    if over_at is None:
        return None
    return Suspect(
        lease=labels[LABEL_LEASE],
        run=labels.get(LABEL_RUN, ""),
        owner=labels.get(LABEL_OWNER, ""),
        why=why,
        over_at=over_at,
        resources=tuple(resources),
        ledger=cost_so_far(resources, now, ports.prices),
        grace=grace,
    )


def _closed_at(labels: Mapping[str, str], repository: str, ports: ReapPorts) -> float | None:
    """Return when the pull request of a preview was closed. None: it is open, or GitHub does not say."""
    number = pull_request_of(labels.get(LABEL_ENVIRONMENT, ""))
    if number is None or ports.pulls is None or labels.get(LABEL_OWNER) != owner_label(repository):
        return None
    state = ports.pulls.state(number)
    return state.closed_at if state is not None else None


def _at_its_end(suspect: Suspect, leftovers: Sequence[Resource], *, begun: float, ports: ReapPorts) -> Suspect:
    """Return the suspect with its cost until its end; while a part of it is left, until now.

    The sweep requests all removals at its beginning, and some providers bill until that request.
    """
    ids = {resource.id for resource in leftovers}
    by_request = all(rules_of(one.provider).until is BilledUntil.REQUEST for one in suspect.resources)
    is_gone = not any(one.id in ids for one in suspect.resources)
    until = begun if is_gone and by_request else ports.clock.now()
    return replace(suspect, ledger=cost_so_far(suspect.resources, until, ports.prices))


def _latest(resources: Sequence[Resource], label: str) -> float | None:
    moments = [int(text) for resource in resources if (text := resource.labels.get(label, "")).isdecimal()]
    return float(max(moments)) if moments else None


def cost_so_far(resources: Sequence[Resource], until: float, prices: Prices) -> Ledger:
    """Return the machines, disks and addresses until a moment: spot at the price of spot, the others on demand."""
    machines = {
        (one.provider, one.region, one.instance_type, one.pricing.spot): _hourly(one, prices)
        for one in resources
        if one.instance_type and one.created_at is not None
    }

    def hourly_usd(machine: Resource) -> float | None:
        return machines[machine.provider, machine.region, machine.instance_type, machine.pricing.spot]

    return of_resources(resources, until=until, hourly_usd=hourly_usd, source=prices.date)


def known_usd(ledger: Ledger) -> float | None:
    """Return the sum; None if it has no machine of a known price."""
    machines = ledger.of_kind(CostKind.MACHINE)
    return ledger.usd if any(machine.usd is not None for machine in machines) else None


def _hourly(machine: Resource, prices: Prices) -> float | None:
    location = Location(cloud=machine.provider, region=machine.region)
    return catalogue_hourly_usd(machine.instance_type, location=location, is_spot=machine.pricing.spot, prices=prices)


def _silent(event: Event) -> None:
    """Ignore the event: the command only searches for machines."""
