"""SkyPilot's catalogue files, such as those in ~/.sky/catalogs/v8, as rows. Files only, no SDK.

A file has up to 60,000 lines. A line without any of the words of the query is skipped before it is parsed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cvl_ci.clouds.catalogue import gcp_machines
from cvl_ci.clouds.catalogue.machine_row import MachineRow

# Of machines without GPU SkyPilot chooses only these families by itself (sky/catalog/{aws,azure}_catalog.py, 0.14.1).
_FAMILIES: Mapping[str, re.Pattern[str]] = {
    "aws": re.compile(r"(?:[mcr]6id?|[mcr]7i)\."),
    "azure": re.compile(r"Standard_(?:[DE]\d+s_v5|F\d+s_v2)$"),
    "gcp": re.compile("|".join(map(re.escape, gcp_machines.FAMILIES))),
}
_USUAL_ZONE = re.compile(r"[a-z]+\d+-az\d+|[a-z]+(?:-[a-z]+)+-\d+[a-z]")
"""The id or the name of an Availability Zone of AWS. Local and Wavelength Zones have a part more, such as a city."""

_COLUMNS = ("InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice")


@dataclass(frozen=True, kw_only=True)
class Query:
    """The machines to read: with one of these GPUs, of one type, or without GPU."""

    accelerators: frozenset[str] = frozenset()
    instance_type: str | None = None

    @property
    def keywords(self) -> Sequence[str]:
        """Return the words of which a line must have one; none for machines without GPU."""
        return (self.instance_type,) if self.instance_type else tuple(sorted(self.accelerators))


def path(directory: Path, cloud: str) -> Path:
    return directory / cloud / "vms.csv"


def rows(directory: Path, cloud: str, query: Query) -> Iterable[MachineRow]:
    """Return one row a type and region, with the cheapest spot price of its zones, as SkyPilot would choose."""
    if cloud == "gcp":
        return _gcp_rows(path(directory, cloud), query)
    return _merged(row for row in _read(path(directory, cloud), cloud, query.keywords) if _is_match(row, query, cloud))


def machine_types(directory: Path, cloud: str) -> Iterator[str]:
    """Yield the name of each machine type of a cloud, once a line of the file."""
    with path(directory, cloud).open(encoding="utf-8", errors="replace", newline="") as lines:
        for cells in csv.DictReader(lines):
            if name := cells.get("InstanceType"):
                yield name


def _gcp_rows(file: Path, query: Query) -> Iterable[MachineRow]:
    accelerators = set(query.accelerators)
    if query.instance_type:
        named = gcp_machines.gpu_of(query.instance_type)
        accelerators = {named} if named else accelerators
    if not accelerators:
        return _merged(row for row in _read(file, "gcp", query.keywords) if _is_match(row, query, "gcp"))
    hosts_of = tuple(host for name in accelerators for host in gcp_machines.hosts_of(name))
    read = list(_read(file, "gcp", (*accelerators, *hosts_of)))
    hosts = _merged(row for row in read if row.name.startswith(hosts_of) and not row.accelerator)
    gpus = _merged(row for row in read if row.accelerator in accelerators and not row.name)
    paired = gcp_machines.paired(hosts, gpus, is_host_named=bool(query.instance_type))
    return [row for row in paired if query.instance_type in (None, row.name)]


def _is_match(row: MachineRow, query: Query, cloud: str) -> bool:
    if not row.name or not row.vcpus:
        return False
    if query.instance_type:
        return row.name == query.instance_type
    if query.accelerators:
        return row.accelerator in query.accelerators
    family = _FAMILIES.get(cloud)
    return not row.accelerator and (family is None or bool(family.match(row.name)))


def _read(file: Path, cloud: str, keywords: Sequence[str]) -> Iterator[MachineRow]:
    """Yield each line as a row. A line with a number that cannot be read is left out."""
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        header = next(csv.reader(lines), [])
        if not {"InstanceType", "Price", "Region"} <= set(header):
            return
        for cells in csv.reader(line for line in lines if not keywords or any(word in line for word in keywords)):
            row = _parsed(dict(zip(header, cells, strict=False)), cloud)
            if row is not None:
                yield row


def _parsed(cells: Mapping[str, str], cloud: str) -> MachineRow | None:
    try:
        name, accelerator, count, vcpus, memory, price, spot = (cells.get(column, "") for column in _COLUMNS)
        spot_usd = float(spot) if spot else None
        zone = cells.get("AvailabilityZone", "")
        return MachineRow(
            cloud=cloud,
            name=name,
            vcpus=float(vcpus or 0),
            memory_gib=float(memory or 0),
            accelerator=accelerator or None,
            count=float(count or 0) if accelerator else 0.0,
            price=float(price) if price else None,
            spot=spot_usd,
            spot_most=spot_usd,
            region=cells.get("Region", ""),
            zone=zone if cloud == "aws" and zone and not _USUAL_ZONE.fullmatch(zone) else None,
        )
    except ValueError:
        return None


def _merged(read: Iterable[MachineRow]) -> Iterable[MachineRow]:
    by_key: dict[tuple[str, str | None, float, str, str | None], MachineRow] = {}
    for row in read:
        key = row.name, row.accelerator, row.count, row.region, row.zone
        row_before = by_key.get(key)
        if row_before is None:
            by_key[key] = row
        elif (row.price, row.spot) != (row_before.price, row_before.spot) or row.spot_most != row_before.spot_most:
            by_key[key] = replace(
                row_before,
                price=_of(min, row_before.price, row.price),
                spot=_of(min, row_before.spot, row.spot),
                spot_most=_of(max, row_before.spot_most, row.spot_most),
            )
    return by_key.values()


def _of(choose: Callable[..., float], one: float | None, other: float | None) -> float | None:
    return choose((price for price in (one, other) if price is not None), default=None)
