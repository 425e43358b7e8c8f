"""The machines that SkyPilot would take for a request. Pure.

For a request with GPUs SkyPilot tries every machine type that fits, the cheapest first. For a request without GPU, and
on Google Cloud for every request, it chooses one type, the cheapest that fits, and tries no other one:
get_default_instance_type and get_instance_type_for_accelerator in sky/catalog/*_catalog.py, 0.14.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cvl_ci.clouds.catalogue import gcp_machines
from cvl_ci.clouds.catalogue.machine_row import MachineRow
from cvl_ci.model.location import Location
from cvl_ci.model.resource_request import ResourceRequest

LEAST_CPUS = 2.0
"""The least CPUs of a machine without GPU, if the task names no number."""

_USUAL_RATIO = {"aws": 4.0, "azure": 4.0, "gcp": 4.0, "lambda": 4.0, "sandbox": 4.0}
"""The least GiB for each vCPU of a machine without GPU, if the task names no memory."""

_SAME_COUNT = 0.01
"""SkyPilot's own tolerance for a part of a GPU: get_instance_type_for_accelerator_impl in sky/catalog/common.py."""


def eligible(
    rows: Iterable[MachineRow], needs: ResourceRequest, *, cloud: str, location: Location | None
) -> list[MachineRow]:
    """Return the rows of one cloud that SkyPilot may take for a request at a place."""
    fitting = [row for row in rows if fits(row, needs, cloud=cloud) and _is_in_zone(row, location)]
    chooses_one = not needs.instance_type and (not needs.accelerators or cloud == "gcp")
    if not chooses_one:
        return [row for row in fitting if _is_at(row, location)]
    chosen: set[str] = set()
    # On Google Cloud the type of a machine with GPUs is chosen over all regions, and the others' over the place alone.
    pool = fitting if needs.accelerators else [row for row in fitting if _is_at(row, location)]
    for name, count in (needs.accelerators or {"": 0.0}).items():
        chosen |= _cheapest([row for row in pool if not name or (row.accelerator == name and _is(row.count, count))])
    return [row for row in fitting if row.name in chosen and _is_at(row, location)]


def fits(row: MachineRow, needs: ResourceRequest, *, cloud: str) -> bool:
    if needs.instance_type:
        return row.name == needs.instance_type and _has_its_gpus(row, needs, cloud=cloud)
    if needs.accelerators:
        if not _is(row.count, needs.accelerators.get(row.accelerator or "", 0.0)):
            return False
    elif row.accelerator:
        return False
    if "cpus" in needs.exact and row.vcpus != needs.cpus:
        return False
    if "memory_gib" in needs.exact and row.memory_gib != needs.memory_gib:
        return False
    if row.memory_gib < _ratio(needs, cloud) * row.vcpus:
        return False
    least = needs.cpus or (0.0 if needs.accelerators else LEAST_CPUS)
    return row.vcpus >= least and row.memory_gib >= (needs.memory_gib or 0.0)


def _has_its_gpus(row: MachineRow, needs: ResourceRequest, *, cloud: str) -> bool:
    """Return whether a machine of a requested type has the requested GPUs; without a request, those of its type."""
    if needs.accelerators:
        return _is(row.count, needs.accelerators.get(row.accelerator or "", 0.0))
    return not row.accelerator or cloud != "gcp" or gcp_machines.gpu_of(row.name) is not None


def _ratio(needs: ResourceRequest, cloud: str) -> float:
    if needs.memory_per_vcpu or needs.memory_gib or needs.accelerators:
        return needs.memory_per_vcpu or 0.0
    return _USUAL_RATIO.get(cloud, 0.0)


def _cheapest(rows: Sequence[MachineRow]) -> set[str]:
    """Return the types with the lowest price on demand: SkyPilot ranks them by it for spot too."""
    prices = [(row.price, row.name) for row in rows if row.price is not None]
    lowest = min((price for price, _ in prices), default=None)
    return {name for price, name in prices if price == lowest}


def _is(count: float, requested: float) -> bool:
    return bool(requested) and abs(count - requested) <= _SAME_COUNT


def _is_at(row: MachineRow, location: Location | None) -> bool:
    return location is None or location.region in (None, row.region)


def _is_in_zone(row: MachineRow, location: Location | None) -> bool:
    """Return whether the row is for the place's zone: a Local Zone counts only where the place names it."""
    requested = _local_zone(location.region, location.zone) if location and location.region and location.zone else None
    return row.zone == requested


def _local_zone(region: str, zone: str) -> str | None:
    """Return the id of a Local Zone in the catalogue, `use1-bos1-az1`, for its name, `us-east-1-bos-1a`."""
    city, _, number = zone.removeprefix(f"{region}-").rpartition("-")
    if zone == region or not zone.startswith(f"{region}-") or not city or not number[:-1].isdigit():
        return None
    area, direction, digit = (*region.split("-"), "", "")[:3]
    sides = {"east": "e", "west": "w", "north": "n", "south": "s", "central": "c"}
    short = "".join(sides.get(part, part[:1]) for part in _parts(direction))
    return f"{area}{short}{digit}-{city}{number[:-1]}-az{ord(number[-1]) - ord('a') + 1}"


def _parts(direction: str) -> list[str]:
    """Return `south` and `east` of `southeast`."""
    for first in ("north", "south"):
        rest = direction.removeprefix(first)
        if rest and rest != direction:
            return [first, rest]
    return [direction]
