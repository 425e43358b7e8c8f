"""`down`: find what is ours, by record and by the provider's own word, and end it with proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cvl_ci.errors import Mistake, RequestError
from cvl_ci.lease import LABEL_LEASE, Lease
from cvl_ci.ports import Clock, Cloud, Clouds, Event, LeaseRecord, Records, Workflow
from cvl_ci.request.plan import Place
from cvl_ci.result.outcome import Release


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The ports that taking down needs."""

    clouds: Clouds
    records: Records
    workflow: Workflow
    clock: Clock


def down(
    names: Sequence[str], *, everything: bool, places: Sequence[Place], user_id: str, tools: Tools
) -> dict[str, Release]:
    """Name → proof. `places`: where to look for leases that this machine has no record of."""
    known = {record.name: record for record in tools.records.all()}
    wanted = [_known_or_new(name, known, places, tools.clock) for name in names]
    if everything:
        wanted += [record for record in known.values() if record.released_at is None]
        wanted += _unknown(known, places, user_id, tools)
    return {record.name: _end(record, user_id, tools) for record in {record.name: record for record in wanted}.values()}


def _known_or_new(name: str, known: dict[str, LeaseRecord], places: Sequence[Place], clock: Clock) -> LeaseRecord:
    if name in known and places:  # a person who says where to look is asked about there, whatever was written down
        return replace(known[name], places=tuple(places), regions=())
    if name in known:
        return known[name]
    if not places:
        near = tuple(sorted(known)[-3:])
        raise RequestError(
            [Mistake(field="NAME", value=name, problem="is no lease recorded on this machine", near=near)],
            next_step="Say where it may be (`--cloud aws`), and the provider is asked for it by name.",
        )
    return LeaseRecord(name=name, labels={}, deadline=0.0, places=tuple(places), taken_at=clock.now())


def _unknown(known: dict[str, LeaseRecord], places: Sequence[Place], user_id: str, tools: Tools) -> list[LeaseRecord]:
    """Leases that the provider shows and this machine never recorded: another machine's, or a lost HOME's."""
    found: dict[str, LeaseRecord] = {}
    for place in places:
        with tools.clouds.open([place], user_id=user_id, watch=_silent) as cloud:
            for resource in cloud.inventory.find(lease=None, places=[place]).resources:
                name = resource.labels.get(LABEL_LEASE, "")
                if name and name not in known:
                    where = (*found[name].regions, f"{place.cloud}/{resource.region}") if name in found else ()
                    found[name] = LeaseRecord(
                        name=name,
                        labels=resource.labels,
                        deadline=0.0,
                        places=(place,),
                        taken_at=resource.created_at or tools.clock.now(),
                        regions=where or (f"{place.cloud}/{resource.region}",),
                    )
    return list(found.values())


def _end(record: LeaseRecord, user_id: str, tools: Tools) -> Release:
    tools.workflow.notice(f"taking down {record.name}")
    places = record.places or tuple(Place.parse(text) for text in record.regions)
    with tools.clouds.open(places, user_id=user_id, watch=_silent) as cloud:
        return _lease(record, cloud, tools).release(surely=True)


def _lease(record: LeaseRecord, cloud: Cloud, tools: Tools) -> Lease:
    return Lease(
        record,
        engine=cloud.engine,
        inventory=cloud.inventory,
        records=tools.records,
        clock=tools.clock,
        say=tools.workflow.warning,
    )


def _silent(event: Event) -> None:
    """Nobody watches a machine that is only looked for; what matters is in the proof."""
