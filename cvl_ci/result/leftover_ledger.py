"""Build the ledger of what a provider shows, for `reap` and `status`, without the run that made it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cvl_ci.model.billing import UnitPrice, rules_of
from cvl_ci.model.ledger import BilledTime, CostKind, Ledger, LedgerEntry
from cvl_ci.model.location import Location
from cvl_ci.model.resource import Resource, ResourceKind

Hourly = Callable[[Resource], float | None]


def of_resources(resources: Iterable[Resource], *, until: float, hourly_usd: Hourly, source: str = "") -> Ledger:
    """Return the entries of machines, disks and addresses from their creation to a moment, in epoch seconds.

    `hourly_usd`: the price of a machine. A resource without a date is left out. Each machine has a public address, as
    SkyPilot makes it.
    """
    return Ledger(
        entries=tuple(
            entry
            for resource in resources
            if resource.created_at is not None and resource.created_at <= until
            for entry in _entries(resource, resource.created_at, until, hourly_usd, source)
        )
    )


def _entries(resource: Resource, start: float, until: float, hourly_usd: Hourly, source: str) -> Iterator[LedgerEntry]:
    place, rules = Location(cloud=resource.provider, region=resource.region or None), rules_of(resource.provider)

    time = BilledTime(start=start, end=until)

    def entry(kind: CostKind, item: str, quantity: float, price: UnitPrice) -> LedgerEntry:
        return LedgerEntry(kind=kind, item=item, place=place, attempt=1, time=time, quantity=quantity, price=price)

    if resource.kind is ResourceKind.DISK and resource.pricing.size_gb:
        yield entry(CostKind.DISK, rules.disk_type or "disk", resource.pricing.size_gb, rules.disk)
    if resource.kind is ResourceKind.MACHINE and resource.instance_type:
        machine = UnitPrice(usd=hourly_usd(resource), per="hour", source=source)
        yield entry(CostKind.MACHINE, resource.instance_type, 1, machine)
        yield entry(CostKind.ADDRESS, "public IPv4", 1, rules.address)
