"""The prices of machines: our own table with its sources, or SkyPilot's catalogue if it exists. No network, no SDK.

prices.csv is transcribed from skypilot-org/skypilot-catalog; each row names its commit. The commits are of different,
unknown days: good for an estimate, not for a comparison of clouds on one day.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path

from cvl_ci.clouds.catalogue import names, sky_files
from cvl_ci.model.plan import SANDBOX, Location, Offer, ResourceRequest, Spot

LEAST_CPUS = 2.0
"""The least CPUs of a machine without GPU, if the task names no number."""

# Verbatim, but wrong: the cheapest in the list, and no user could rent them at that price.
_DISTRUSTED = {
    ("gcp", "a2-ultragpu-1g", "us-central1"): "A100-80GB below its own spot price; 5.52 elsewhere",
    ("gcp", "a2-ultragpu-1g", "europe-west4"): "A100-80GB below its own spot price; 5.52 elsewhere",
    ("gcp", "a3-highgpu-8g", "us-central1"): "43.07 against 87.83 and 111.82 elsewhere",
    ("gcp", "a2-highgpu-1g", "europe-west4"): "half the price of the US regions",
}
_DISTRUSTED_SPOT = {
    ("aws", "p4d.24xlarge", "us-east-1"): "2.47 in one zone, about 8 in the others",
}
_ONE_PRICE_EVERYWHERE = {"lambda"}  # its catalogue repeats each price for each region


@dataclass(frozen=True, kw_only=True)
class MachineRow:
    """One machine type in one region. Prices in dollars an hour; None: not on sale in this way."""

    cloud: str
    name: str
    vcpus: float
    memory_gib: float
    accelerator: str | None
    count: int
    accelerator_memory_gib: float
    price: float | None
    spot: float | None
    region: str


class CataloguePrices:
    """The catalogue. `skypilot_catalogue`: a directory like `~/.sky/catalogs/v8`, whose clouds use its prices."""

    def __init__(self, *, skypilot_catalogue: Path | None = None) -> None:
        self._skypilot = skypilot_catalogue
        self._rows: dict[str, Sequence[MachineRow]] = {}
        self._dates: dict[str, str] = {}

    @property
    def date(self) -> str:
        """Return the source and the date of the prices, as far as they are known."""
        fresh = {cloud: date for cloud in self.clouds() if (date := self._fresh_date(cloud))}
        baked = ", ".join(f"{cloud} {commit[:7]}" for cloud, commit in self._commits.items() if cloud not in fresh)
        parts = [f"SkyPilot's catalogue as of {max(fresh.values())} ({', '.join(fresh)})"] if fresh else []
        parts += [f"SkyPilot's catalogue at undated commits ({baked})"] if baked else []
        return "; ".join(parts)

    def offers(self, needs: ResourceRequest, *, places: Sequence[Location], spot: Spot) -> Sequence[Offer]:
        if needs.alternatives:
            return self._offers_of(needs, places=places)
        anywhere: Sequence[Location | None] = places or [None]
        tries = {Spot.NEVER: [False], Spot.ALWAYS: [True], Spot.FALLBACK: [True, False]}[spot]
        ranks = {name: rank for rank, name in enumerate(needs.accelerators)} if needs.in_order else {}

        def order(offer: Offer) -> tuple[int, float]:
            return min((ranks.get(name, 0) for name in offer.accelerators), default=0), offer.hourly_usd

        candidates = [
            offer
            for on_spot in tries
            for place in anywhere
            for offer in sorted(self._at(place, needs, on_spot=on_spot), key=order)
        ]
        return _unique(candidates)

    def _offers_of(self, needs: ResourceRequest, *, places: Sequence[Location]) -> Sequence[Offer]:
        """Return the offers of a task's alternatives. An alternative without a place may run in `places`."""
        offers = [
            offer
            for one in needs.alternatives
            for offer in self.offers(
                one.needs, places=[one.place] if one.place else places, spot=Spot.ALWAYS if one.spot else Spot.NEVER
            )
        ]
        return _unique(offers if needs.in_order else sorted(offers, key=lambda offer: offer.hourly_usd))

    def accelerators(self) -> Sequence[str]:
        return names.ACCELERATORS

    def clouds(self) -> Sequence[str]:
        return tuple(self._baked)

    def regions(self, cloud: str) -> Sequence[str]:
        """Return all regions, or none where they are unknown."""
        return names.REGIONS.get(cloud, ())

    def machine_rows(self, cloud: str = SANDBOX) -> Sequence[MachineRow]:
        """Return the machines of a cloud with a known price. The sandbox has those of AWS in its two regions."""
        if cloud not in self._rows:
            self._rows[cloud] = tuple(self._read(cloud))
        return self._rows[cloud]

    def _at(self, place: Location | None, needs: ResourceRequest, *, on_spot: bool) -> Iterator[Offer]:
        # "any" does not include the sandbox: only its own name selects it.
        for cloud in [place.cloud] if place else self.clouds():
            rows: Iterable[MachineRow] = self.machine_rows(cloud)
            if place and place.region and cloud in _ONE_PRICE_EVERYWHERE:
                rows = [replace(row, region=place.region) for row in rows]
            for row in rows:
                price = row.spot if on_spot else row.price
                if price is not None and _does(row, needs) and (not place or place.region in (None, row.region)):
                    yield _offer(row, price, on_spot=on_spot)

    def _read(self, cloud: str) -> Iterable[MachineRow]:
        if cloud == SANDBOX:
            regions = self.regions(SANDBOX)
            return [replace(row, cloud=SANDBOX) for row in self.machine_rows("aws") if row.region in regions]
        if self._skypilot and self._fresh_date(cloud):
            return [_row({**row, "cloud": cloud}) for row in sky_files.rows(self._skypilot, cloud)]
        return [_trusted(_row(row)) for row in self._baked.get(cloud, ()) if _key(row) not in _DISTRUSTED]

    def _fresh_date(self, cloud: str) -> str | None:
        if self._skypilot is None:
            return None
        if cloud not in self._dates:
            self._dates[cloud] = sky_files.date(self._skypilot, cloud) or ""
        return self._dates[cloud] or None

    @cached_property
    def _baked(self) -> Mapping[str, Sequence[Mapping[str, str]]]:
        text = resources.files("cvl_ci.clouds.catalogue").joinpath("prices.csv").read_text(encoding="utf-8")
        by_cloud: dict[str, list[Mapping[str, str]]] = {}
        for row in csv.DictReader(text.splitlines()):
            by_cloud.setdefault(row["cloud"], []).append(row)
        return by_cloud

    @cached_property
    def _commits(self) -> Mapping[str, str]:
        return {cloud: rows[0]["catalog_commit"] for cloud, rows in self._baked.items()}


def _unique(offers: Iterable[Offer]) -> Sequence[Offer]:
    unique: dict[tuple[str, str, str, bool], Offer] = {}
    for offer in offers:
        unique.setdefault((offer.cloud, offer.region, offer.instance_type, offer.spot), offer)
    return tuple(unique.values())


def _row(text: Mapping[str, str]) -> MachineRow:
    accelerator = text["accelerator"] or None
    return MachineRow(
        cloud=text["cloud"],
        name=text["instance_type"],
        vcpus=float(text["vcpus"]),
        memory_gib=float(text["memory_gib"]),
        accelerator=accelerator,
        count=int(float(text["accelerator_count"] or 0)),
        accelerator_memory_gib=float(names.MEMORY_GB.get(accelerator or "", 0)),
        price=float(text["price_usd_per_hour"]) if text["price_usd_per_hour"] else None,
        spot=float(text["spot_usd_per_hour"]) if text["spot_usd_per_hour"] else None,
        region=text["region"],
    )


def _key(text: Mapping[str, str]) -> tuple[str, str, str]:
    return text["cloud"], text["instance_type"], text["region"]


def _trusted(row: MachineRow) -> MachineRow:
    return replace(row, spot=None) if (row.cloud, row.name, row.region) in _DISTRUSTED_SPOT else row


def _does(row: MachineRow, needs: ResourceRequest) -> bool:
    if needs.instance_type:
        return row.name == needs.instance_type
    if needs.accelerators:
        if needs.accelerators.get(row.accelerator or "") != row.count:
            return False
    elif row.accelerator:
        return False
    if "cpus" in needs.exact and row.vcpus != needs.cpus:
        return False
    if "memory_gib" in needs.exact and row.memory_gib != needs.memory_gib:
        return False
    if row.memory_gib < (needs.memory_per_vcpu or 0.0) * row.vcpus:
        return False
    least = needs.cpus or (0.0 if needs.accelerators else LEAST_CPUS)
    return row.vcpus >= least and row.memory_gib >= (needs.memory_gib or 0.0)


def _offer(row: MachineRow, price: float, *, on_spot: bool) -> Offer:
    return Offer(
        cloud=row.cloud,
        region=row.region,
        instance_type=row.name,
        accelerators={row.accelerator: row.count} if row.accelerator else {},
        spot=on_spot,
        hourly_usd=price,
        vcpus=row.vcpus,
        memory_gib=row.memory_gib,
    )
