"""Find the leases of this user, by record and by the provider's answer, and end them with proof."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cvl_ci.commands.lease_on_cloud import lease_on
from cvl_ci.errors import CvlError, InputProblem, RequestError, explain_while_running
from cvl_ci.inputs.suggest import nearly_same
from cvl_ci.model.lease_name import LABEL_LEASE
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.release import Release
from cvl_ci.model.storage import Bucket
from cvl_ci.ports import Clock, Clouds, Event, LeaseRecord, Records, Resource, ResourceKind, RunReporter

AT_ONCE = 8
"""Leases that end at the same time. Each of them has a SkyPilot process of its own."""
_speaking = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class DownPorts:
    """Ports that taking down needs."""

    clouds: Clouds
    records: Records
    reporter: RunReporter
    clock: Clock


@dataclass(frozen=True, kw_only=True)
class Downed:
    """Result. `releases`: lease → proof. `silent`: clouds without an answer about leases.

    `unlabelled`: resources with a name like ours, which stay untouched.
    """

    releases: Mapping[str, Release]
    silent: tuple[str, ...]
    unlabelled: tuple[Resource, ...]

    @property
    def proved(self) -> bool:
        return all(one.gone for one in self.releases.values()) and not self.silent and not self.unlabelled


def down(
    names: Sequence[str], *, everything: bool, locations: Sequence[Location], user_id: str, ports: DownPorts
) -> Downed:
    """End these leases. `locations`: where to look for leases without a record on this computer."""
    by_name = {record.name: record for record in ports.records.all()}
    _refuse_unknown(names, by_name, locations)
    to_end = [_known_or_new(name, by_name, locations, ports.clock) for name in names]
    silent, unlabelled = tuple[str, ...](), tuple[Resource, ...]()
    if everything:
        open_records = {name: record for name, record in by_name.items() if record.released_at is None}
        to_end += open_records.values()
        resources, silent = _all_resources(locations, user_id, ports)
        to_end += _unknown(resources, open_records, ports.clock)
        unlabelled = tuple(one for _, one in resources if one.is_leftover and not one.labels.get(LABEL_LEASE))
    records = {record.name: _cancelled(record, ports) for record in to_end}
    return Downed(
        releases=end_all(records, user_id=user_id, ports=ports, hurried=False),
        silent=silent,
        unlabelled=unlabelled,
    )


def _cancelled(record: LeaseRecord, ports: DownPorts) -> LeaseRecord:
    """Return the record of a detached run with the cause of its end, which a later collection tells."""
    if record.detached is None or record.detached.is_collected or record.released_at is not None:
        return record
    marked = replace(record, is_cancelled=True)
    try:
        ports.records.write(marked)
    except CvlError as error:  # a record must not stop the end of a machine
        ports.reporter.warning(error.what)
    return marked


def _refuse_unknown(names: Sequence[str], by_name: Mapping[str, LeaseRecord], locations: Sequence[Location]) -> None:
    """Raise RequestError for names without a record here, where no cloud is named that could know them."""
    unknown = [name for name in names if name not in by_name]
    if locations or not unknown:
        return
    open_names = sorted(name for name, record in by_name.items() if record.released_at is None)
    open_text = f"open leases: {', '.join(open_names)}" if open_names else "no lease is open here"
    mistakes = []
    for name in unknown:
        near = nearly_same(name, open_names)
        problem = "is not a lease of this computer's records" + ("" if near else f" ({open_text})")
        mistakes.append(InputProblem(field="NAME", value=name, problem=problem, near=near))
    raise RequestError(
        mistakes, next_step="Name its cloud (`--cloud aws`), and cvl-ci asks the provider for it by name."
    )


def _known_or_new(
    name: str, by_name: dict[str, LeaseRecord], locations: Sequence[Location], clock: Clock
) -> LeaseRecord:
    if name in by_name and locations:  # a person's locations and the record's: only both together prove it gone
        recorded = (*by_name[name].locations, *map(Location.parse, by_name[name].regions))
        return replace(by_name[name], locations=tuple(dict.fromkeys([*locations, *recorded])), regions=())
    if name in by_name:
        return by_name[name]
    return unrecorded(name, locations, clock)


def unrecorded(name: str, locations: Sequence[Location], clock: Clock) -> LeaseRecord:
    """Return the record of a lease of which only the name is known. `locations`: where to look for it."""
    return LeaseRecord(
        name=name, labels={}, deadline=0.0, locations=tuple(locations), taken_at=clock.now(), knows_buckets=False
    )


def end_all(records: Mapping[str, LeaseRecord], *, user_id: str, ports: DownPorts, hurried: bool) -> dict[str, Release]:
    """End these leases at the same time, and return lease → proof, in the order of `records`.

    An error at one of several leases is a missing proof of that one, and drops no other. A single lease raises its
    error. The threads end with this process, so that an interrupt stops them too.
    """
    if len(records) == 1:
        return {name: _end(record, user_id, ports, hurried=hurried) for name, record in records.items()}
    # Leases of a sandbox end in turn. The first of them stops a sandbox that has no other user.
    on_sandbox = [record for record in records.values() if SANDBOX in _clouds(record)]
    on_clouds = [[record] for record in records.values() if SANDBOX not in _clouds(record)]
    waiting = deque([on_sandbox, *on_clouds] if on_sandbox else on_clouds)
    releases = dict[str, Release]()

    def work() -> None:
        while waiting:
            try:
                batch = waiting.popleft()
            except IndexError:
                return
            for record in batch:
                releases[record.name] = _end_or_unproved(record, user_id, ports, hurried=hurried)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {name: releases.get(name) or _unproved(record, ports.clock) for name, record in records.items()}


def _all_resources(
    locations: Sequence[Location], user_id: str, ports: DownPorts
) -> tuple[list[tuple[Location, Resource]], tuple[str, ...]]:
    """Return the resources of all owners, and the silent clouds.

    A cloud that cannot be opened does not block others.
    """
    resources_by_location: list[tuple[Location, Resource]] = []
    unheard: list[str] = []
    for location in locations:
        try:
            with ports.clouds.open([location], user_id=user_id, watch=_unwatched) as cloud:
                resources, silent = cloud.inventory.find(lease=None, locations=[location]).read()
        except CvlError as error:
            unheard.append(f"{location}: {error.what}")
            continue
        resources_by_location += [(location, resource) for resource in resources]
        unheard += silent
    return resources_by_location, tuple(unheard)


def _unknown(
    resources_by_location: Sequence[tuple[Location, Resource]], by_name: Mapping[str, LeaseRecord], clock: Clock
) -> list[LeaseRecord]:
    """Return the leases that have no open record here: another computer's, a lost HOME's, or a lease that came back."""
    leases: dict[str, LeaseRecord] = {}
    for location, resource in resources_by_location:
        name = resource.labels.get(LABEL_LEASE, "")
        if name and name not in by_name and not resource.stays:
            regions = (*leases[name].regions, f"{location.cloud}/{resource.region}") if name in leases else ()
            buckets = leases[name].buckets if name in leases else ()
            if resource.kind is ResourceKind.BUCKET:
                buckets = (*buckets, Bucket(name=resource.id, region=resource.region))
            leases[name] = LeaseRecord(
                name=name,
                labels=resource.labels,
                deadline=0.0,
                locations=(location,),
                taken_at=resource.created_at or clock.now(),
                regions=regions or (f"{location.cloud}/{resource.region}",),
                buckets=buckets,
                knows_buckets=False,
            )
    return list(leases.values())


def _end_or_unproved(record: LeaseRecord, user_id: str, ports: DownPorts, *, hurried: bool) -> Release:
    try:
        return _end(record, user_id, ports, hurried=hurried)
    except Exception as error:  # noqa: BLE001  any fault at one lease must not stop the end of the others
        _report(ports.reporter.warning, f"{record.name} is not proved gone: {explain_while_running(error)}")
        return _unproved(record, ports.clock)


def _unproved(record: LeaseRecord, clock: Clock) -> Release:
    return Release(gone=False, at=clock.now(), unproved=_clouds(record) or ("its cloud",))


def _clouds(record: LeaseRecord) -> tuple[str, ...]:
    texts = map(str, record.locations or record.regions)
    return tuple(dict.fromkeys(text.partition("/")[0] for text in texts))


def _end(record: LeaseRecord, user_id: str, ports: DownPorts, *, hurried: bool) -> Release:
    _report(ports.reporter.notice, f"taking down {record.name}")
    locations = record.locations or tuple(Location.parse(text) for text in record.regions)
    with ports.clouds.open(locations, user_id=user_id, watch=_unwatched) as cloud:
        say = partial(_report, ports.reporter.warning)
        lease = lease_on(cloud, record, records=ports.records, clock=ports.clock, say=say)
        return lease.release(maybe_created=True, hurried=hurried)


def _report(say: Callable[[str], None], text: str) -> None:
    with _speaking:
        say(text)


def _unwatched(event: Event) -> None:
    """Ignore the event: the proof holds all that matters."""
