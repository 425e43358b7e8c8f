"""Show which leases are open, by the records of this computer and by the provider's answer. It changes nothing.

A record means that a run requested a machine and has no proof of its end. Only the provider knows whether one runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from urllib.parse import urlsplit

from cvl_ci.commands.lease_cost import CostSoFar
from cvl_ci.commands.reap.reap import cost_so_far, known_usd
from cvl_ci.errors import CvlError, NotProvedGone
from cvl_ci.model.lease_name import (
    LABEL_DEADLINE,
    LABEL_DETACHED,
    LABEL_KEPT,
    LABEL_LEASE,
    LABEL_OWNER,
    LABEL_REUSE,
    LABEL_RUN,
    LABEL_USE,
    service_address,
    service_url,
)
from cvl_ci.model.location import Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.model.reuse import UseMark, UseState
from cvl_ci.ports import Clock, Clouds, Event, LeaseRecord, Prices, Records, Resource
from cvl_ci.result import text
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import duration, moment


@dataclass(frozen=True, kw_only=True)
class StatusPorts:
    """Ports that status needs."""

    clouds: Clouds
    records: Records
    prices: Prices
    clock: Clock


@dataclass(frozen=True, kw_only=True)
class OpenService:
    """A service that a machine runs. `address`: of the machine itself; the URL may have a name instead."""

    url: str
    address: str

    @classmethod
    def of_labels(cls, labels: Mapping[str, str]) -> OpenService | None:
        """Return the service of a machine with these labels; None without one."""
        url = service_url(labels)
        return cls(url=url, address=service_address(labels)) if url else None


@dataclass(frozen=True, kw_only=True)
class OpenLease:
    """One lease that is not proved over.

    Moments are seconds since the epoch; None: unknown, or no such moment. `resources`: the resources that a provider
    shows of it.
    """

    name: str
    is_recorded: bool
    places: tuple[str, ...]
    since: float | None
    deadline: float | None
    kept_until: float | None = None
    owner: str = ""
    run: str = ""
    resources: tuple[Resource, ...] = ()
    cost: CostSoFar = field(default_factory=CostSoFar)
    service: OpenService | None = None
    alone: str = ""
    """Why its machine runs without a process, in words: a detached job, or a wait for the next run. Else empty."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All facts at one moment. `unread`: warnings of records that could not be read."""

    at: float
    leases: tuple[OpenLease, ...] = ()
    unlabelled: tuple[Resource, ...] = ()
    answers: tuple[ProviderCheck, ...] = ()
    unproved: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def silent(self) -> tuple[str, ...]:
        """Return the clouds that gave no answer, by name."""
        silent = [f"{answer.provider} {answer.region}".strip() for answer in self.answers if answer.error is not None]
        return tuple(dict.fromkeys([*silent, *self.unproved]))


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """Answer of one place: its resources, and whether they are billed."""

    resources: tuple[Resource, ...] = ()
    answers: tuple[ProviderCheck, ...] = ()
    unproved: tuple[str, ...] = ()
    billed: bool = True


def build_overview(
    locations: Sequence[Location], *, user_id: str, unread: Sequence[str], ports: StatusPorts
) -> Overview:
    """Return the overview.

    `locations`: the providers to ask; none: only the records. `unread`: filled while records are read.
    """
    records = [record for record in ports.records.all() if record.released_at is None]
    answers = [_ask(location, user_id=user_id, ports=ports) for location in locations]
    now = ports.clock.now()
    leases = {
        one.name: replace(_of_record(one), cost=CostSoFar.of_record(one, now=now, records=ports.records))
        for one in records
    }
    unlabelled: list[Resource] = []
    for answer in answers:
        for name, resources in _by_lease(answer.resources).items():
            if not name:
                unlabelled += resources
                continue
            lease = leases.get(name) or _of_labels(name, resources)
            usd = known_usd(cost_so_far(resources, now, ports.prices)) if answer.billed else None
            total = lease.cost.usd if usd is None else usd + (lease.cost.usd or 0.0)
            cost = replace(lease.cost, usd=total, billed=answer.billed)
            service = lease.service or OpenService.of_labels(resources[0].labels)
            leases[name] = replace(lease, resources=(*lease.resources, *resources), cost=cost, service=service)
    return Overview(
        at=now,
        leases=tuple(leases.values()),
        unlabelled=tuple(unlabelled),
        answers=tuple(one for answer in answers for one in answer.answers),
        unproved=tuple(dict.fromkeys(name for answer in answers for name in answer.unproved)),
        unread=tuple(unread),
    )


def lines(overview: Overview) -> Iterator[str]:
    """Yield the lines for a person."""
    yield from lease_lines(overview.leases, overview)
    for resource in overview.unlabelled:
        yield f"named like ours, but without our labels: {_resource(resource)}"
    for answer in overview.answers:
        if answer.error is not None or answer.stays:
            yield text.answer(answer)
    for name in overview.unproved:
        yield f"cvl-ci cannot ask {plain(name)}: check there for machines yourself"
    if overview.leases:
        yield "`cvl-ci down NAME` ends one, and asks the provider whether it is gone."
    elif not (overview.unlabelled or overview.silent or overview.unread):
        yield "No lease is open."


def lease_lines(leases: Sequence[OpenLease], overview: Overview) -> Iterator[str]:
    """Yield the lines of some leases of an overview."""
    for lease in leases:
        yield _lease(lease, overview.at, is_answered=bool(overview.answers))
        for resource in lease.resources:
            yield f"  {_resource(resource)}"
        if overview.answers and not lease.resources:
            yield "  no cloud that answered shows a machine of it"


def as_json(overview: Overview) -> str:
    """Return all facts for a program; `silent` names the clouds that gave no answer."""
    answers = [text.check_fields(answer) for answer in overview.answers]
    leases = [_fields(lease) for lease in overview.leases]
    fields = {**asdict(overview), "leases": leases, "answers": answers, "silent": overview.silent}
    return json.dumps(fields, indent=2, allow_nan=False, default=_word)


def _fields(lease: OpenLease) -> dict[str, object]:
    """Return the facts of a lease. Its service is two of them: the URL, and the address of the machine."""
    service, cost = lease.service or OpenService(url="", address=""), lease.cost
    facts = {name: value for name, value in asdict(lease).items() if name != "cost"}
    return {
        **facts,
        **cost.as_json(),
        "service": service.url,
        "service_address": service.address,
    }


def _word(value: object) -> object:
    """Return the word of an enum, such as the kind of a resource. Raise TypeError for any other value."""
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def verdict(overview: Overview) -> CvlError | None:
    """Return an error if an answer is missing: a machine there may still run."""
    if overview.silent:
        return NotProvedGone(
            plain(f"Not every cloud answered what runs there: {', '.join(overview.silent)}."),
            money="A machine there is billed.",
            next_step="`cvl-ci check` shows the state of each cloud. Then run it again.",
        )
    if overview.unread:
        return NotProvedGone(
            "Not every lease record could be read.",
            money="A machine that it names may be running and billed.",
            next_step="\n".join(overview.unread),
        )
    return None


# ---- how -------------------------------------------------------------------------------------------------------------


def _ask(location: Location, *, user_id: str, ports: StatusPorts) -> _Answer:
    """Ask one place. A cloud that cannot be opened has given no answer, and does not block the others."""
    try:
        with ports.clouds.open([location], user_id=user_id, watch=_silent) as cloud:
            inventory_answer = cloud.inventory.find(lease=None, locations=[location])
            resources, silent = inventory_answer.read()
            alive = tuple(resource for resource in resources if resource.is_leftover)
            unproved = inventory_answer.unproved
            if silent and not inventory_answer.asked:  # an inventory that asked no provider proves nothing either
                unproved = unproved or (location.cloud,)
            return _Answer(resources=alive, answers=inventory_answer.asked, unproved=unproved, billed=cloud.billed)
    except CvlError as error:
        silence = ProviderCheck(
            provider=location.cloud, region=location.region or "", kinds=("machines",), error=error.what
        )
        return _Answer(answers=(silence,))


def _by_lease(resources: Sequence[Resource]) -> dict[str, list[Resource]]:
    leases: dict[str, list[Resource]] = {}
    for resource in resources:
        leases.setdefault(resource.labels.get(LABEL_LEASE, ""), []).append(resource)
    return leases


def _of_record(record: LeaseRecord) -> OpenLease:
    return OpenLease(
        name=record.name,
        is_recorded=True,
        places=record.regions or tuple(map(str, record.locations)),
        since=record.taken_at,
        deadline=record.deadline or None,
        kept_until=_moment(record.labels.get(LABEL_KEPT, "")),
        owner=record.labels.get(LABEL_OWNER, ""),
        run=record.labels.get(LABEL_RUN, ""),
        service=OpenService.of_labels(record.labels),
        alone=_reuse(record.labels) or _detached(str(record.detached.place) if record.detached else ""),
    )


def _of_labels(name: str, resources: Sequence[Resource]) -> OpenLease:
    """Return a lease that another computer took, or whose record is lost."""
    labels = resources[0].labels
    created = [resource.created_at for resource in resources if resource.created_at is not None]
    return OpenLease(
        name=name,
        is_recorded=False,
        places=tuple(dict.fromkeys(f"{resource.provider}/{resource.region}" for resource in resources)),
        since=min(created, default=None),
        deadline=max(_moment(resource.labels.get(LABEL_DEADLINE, "")) or 0.0 for resource in resources) or None,
        kept_until=_moment(labels.get(LABEL_KEPT, "")),
        owner=labels.get(LABEL_OWNER, ""),
        run=labels.get(LABEL_RUN, ""),
        alone=_reuse(labels) or _detached(labels.get(LABEL_DETACHED, "")),
    )


def _detached(place: str) -> str:
    return f"detached, with its results in {place}" if place else ""


def _reuse(labels: Mapping[str, str]) -> str:
    """Return `waits for the next run of reuse KEY, after 3 uses`; empty without a key."""
    key, mark = labels.get(LABEL_REUSE, ""), UseMark.parse(labels.get(LABEL_USE, ""))
    if not key or mark is None:
        return ""
    uses = f"{mark.number} use{'' if mark.number == 1 else 's'}"
    is_idle = mark.state is UseState.IDLE
    return f"waits for the next run of reuse {key}, after {uses}" if is_idle else f"in use {mark.number} of reuse {key}"


def _moment(text: str) -> float | None:
    """Read a moment from a label. A machine may write labels: only a number of a possible length is a moment."""
    return float(text) if text.isascii() and text.isdecimal() and len(text) <= 11 else None


def _lease(lease: OpenLease, now: float, *, is_answered: bool) -> str:
    parts = [
        f"since {moment(lease.since)}, for {duration(max(0.0, now - lease.since))}" if lease.since else "",
        _served(lease.service) if lease.service else "",
        f"in {', '.join(lease.places) or 'any cloud'}",
        lease.alone,
        _ending(lease, now),
        lease.cost.in_words(is_shown=bool(lease.resources) or not is_answered),
        "" if lease.is_recorded else f"not recorded here (owner {lease.owner or '?'}, run {lease.run or '?'})",
    ]
    return plain(f"{lease.name}: {'; '.join(part for part in parts if part)}")


def _served(service: OpenService) -> str:
    """Return where it serves. A name in the URL may lead to an older machine: then this shows the address too."""
    is_named = urlsplit(service.url).hostname != service.address
    return f"serves at {service.url}{f' on {service.address}' if is_named else ''}"


def _ending(lease: OpenLease, now: float) -> str:
    if lease.deadline is None:
        return "no deadline is known"
    prefix = "kept, and " if lease.kept_until else ""
    if lease.deadline <= now:
        return f"{prefix}past its deadline for {duration(now - lease.deadline)}"
    return f"{prefix}ends by itself at {moment(lease.deadline)}, in {duration(lease.deadline - now)}"


def _resource(resource: Resource) -> str:
    place = f"in {resource.provider}/{resource.region}".rstrip("/")
    return plain(" ".join(part for part in (resource.id, resource.state, resource.instance_type, place) if part))


def _silent(event: Event) -> None:
    """Ignore the event: the command only asks the cloud."""
