"""The prices of machines: SkyPilot's catalogue where it lies, or our own table with its sources. No network, no SDK.

prices.csv is transcribed from skypilot-org/skypilot-catalog; each row names its commit. The commits are of different
days: good for an estimate, not for a comparison of clouds on one day. sources.py has the bounds of these days.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timezone
from functools import cached_property
from importlib import resources
from pathlib import Path

from cvl_ci.clouds.catalogue import believed, names, selection, sky_files, sources
from cvl_ci.clouds.catalogue.machine_row import MachineRow, from_table
from cvl_ci.clouds.catalogue.selection import LEAST_CPUS
from cvl_ci.clouds.catalogue.sky_files import Query
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.offer import Offer
from cvl_ci.model.resource_request import ResourceRequest, Spot

__all__ = ["LEAST_CPUS", "CataloguePrices", "MachineRow"]

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


class CataloguePrices:
    """The catalogue.

    `folders`: folders like `~/.sky/catalogs/v8`. A cloud that none of them has gets the prices of our own table.
    `today`, `oldest_days`: prices of an older day get a warning.
    """

    def __init__(self, *folders: Path, oldest_days: int = sources.OLDEST_DAYS, today: date | None = None) -> None:
        self._folders = folders
        self._oldest_days = oldest_days
        self._today = today or datetime.now(tz=timezone.utc).date()
        self._rows: dict[tuple[str, Query], Sequence[MachineRow]] = {}
        self._sources: dict[str, sources.Source] = {}

    @property
    def date(self) -> str:
        """Return the source and the day of all prices, as far as they are known."""
        return self.date_of(self.clouds())

    def date_of(self, clouds: Collection[str]) -> str:
        return sources.describe(self._sources_of(clouds))

    def age_warning(self, clouds: Collection[str]) -> str:
        """Return why the prices of these clouds may be out of date, or an empty text."""
        billed = [cloud for cloud in clouds if cloud != SANDBOX]
        return sources.age_warning(self._sources_of(billed), today=self._today, oldest_days=self._oldest_days)

    def offers(self, needs: ResourceRequest, *, locations: Sequence[Location], spot: Spot) -> Sequence[Offer]:
        if needs.alternatives:
            return self._offers_of(needs, locations=locations)
        anywhere: Sequence[Location | None] = locations or [None]
        tries = {Spot.NEVER: [False], Spot.ALWAYS: [True], Spot.FALLBACK: [True, False]}[spot]
        ranks = {name: rank for rank, name in enumerate(needs.accelerators)} if needs.in_order else {}

        def order(offer: Offer) -> tuple[int, float]:
            return min((ranks.get(name, 0) for name in offer.accelerators), default=0), offer.hourly_usd

        candidates = [
            offer
            for on_spot in tries
            for location in anywhere
            for offer in sorted(self._at(location, needs, on_spot=on_spot), key=order)
        ]
        return _unique(candidates)

    def _offers_of(self, needs: ResourceRequest, *, locations: Sequence[Location]) -> Sequence[Offer]:
        """Return the offers of a task's alternatives. An alternative without a place may run in `locations`."""
        offers = [
            offer
            for one in needs.alternatives
            for offer in self.offers(
                one.needs,
                locations=[one.location] if one.location else locations,
                spot=Spot.ALWAYS if one.spot else Spot.NEVER,
            )
        ]
        return _unique(offers if needs.in_order else sorted(offers, key=lambda offer: offer.hourly_usd))

    def accelerators(self) -> Sequence[str]:
        return names.ACCELERATORS

    def is_complete(self, cloud: str) -> bool:
        """Return whether the catalogue lists every machine of a cloud: SkyPilot's file does, our own table does not."""
        return cloud == SANDBOX or (cloud in self._table and self._source(cloud).folder is not None)

    def clouds(self) -> Sequence[str]:
        return tuple(self._table)

    def regions(self, cloud: str) -> Sequence[str]:
        """Return all regions, or none where they are unknown."""
        return names.REGIONS.get(cloud, ())

    def machine_types(self, cloud: str) -> Sequence[str]:
        if cloud == SANDBOX:
            names_listed = [row.name for row in self.machine_rows()]
        elif folder := self._source(cloud).folder:
            names_listed = list(sky_files.machine_types(folder, cloud))
        else:
            names_listed = [row.name for row in self._own(cloud)]
        return tuple(dict.fromkeys(names_listed))

    def machine_rows(self) -> Sequence[MachineRow]:
        """Return the machines of the sandbox: those of AWS in its two regions, from our own table."""
        regions = self.regions(SANDBOX)
        return [replace(row, cloud=SANDBOX) for row in self._own("aws") if row.region in regions]

    def _at(self, location: Location | None, needs: ResourceRequest, *, on_spot: bool) -> Iterator[Offer]:
        # "any" does not include the sandbox: only its own name selects it.
        for cloud in [location.cloud] if location else self.clouds():
            rows: Iterable[MachineRow] = self._read(cloud, _query(needs))
            if location and location.region and cloud in _ONE_PRICE_EVERYWHERE:
                rows = [replace(row, region=location.region) for row in rows]
            is_dated = cloud == SANDBOX or self._source(cloud).is_dated
            for row in selection.eligible(rows, needs, cloud=cloud, location=location):
                price = row.at(on_spot=on_spot)
                if price is not None:
                    yield row.offer(price, on_spot=on_spot, is_dated=is_dated)

    def _read(self, cloud: str, query: Query) -> Sequence[MachineRow]:
        """Return the rows of a cloud, with the usual price where the own one is not believed."""
        if cloud == SANDBOX:
            return self.machine_rows()
        rows = self._unchecked(cloud, query)
        gpus = query.accelerators or frozenset(row.accelerator for row in rows if row.accelerator)
        compared = Query(accelerators=gpus)
        usual = believed.usual_prices(row for one in self.clouds() for row in self._unchecked(one, compared))
        return [believed.checked(row, usual) for row in rows]

    def _unchecked(self, cloud: str, query: Query) -> Sequence[MachineRow]:
        key = cloud, query
        if key not in self._rows:
            folder = self._source(cloud).folder
            self._rows[key] = tuple(sky_files.rows(folder, cloud, query) if folder else self._own(cloud))
        return self._rows[key]

    def _own(self, cloud: str) -> Sequence[MachineRow]:
        return self._table.get(cloud, ())

    def _source(self, cloud: str) -> sources.Source:
        if cloud not in self._sources:
            one = sources.source(cloud, self._folders)
            self._sources[cloud] = one if one.folder else replace(one, commit=self._commits.get(cloud, ""))
        return self._sources[cloud]

    def _sources_of(self, clouds: Collection[str]) -> list[sources.Source]:
        real = dict.fromkeys("aws" if cloud == SANDBOX else cloud for cloud in clouds)
        return [self._source(cloud) for cloud in real if cloud in self._table]

    @cached_property
    def _texts(self) -> Sequence[Mapping[str, str]]:
        text = resources.files("cvl_ci.clouds.catalogue").joinpath("prices.csv").read_text(encoding="utf-8")
        return tuple(csv.DictReader(text.splitlines()))

    @cached_property
    def _table(self) -> Mapping[str, Sequence[MachineRow]]:
        by_cloud: dict[str, list[MachineRow]] = {}
        for text in self._texts:
            row = from_table(text)
            if (row.cloud, row.name, row.region) not in _DISTRUSTED:
                by_cloud.setdefault(row.cloud, []).append(_trusted(row))
        return by_cloud

    @cached_property
    def _commits(self) -> Mapping[str, str]:
        return {text["cloud"]: text["catalog_commit"] for text in reversed(self._texts)}


def _query(needs: ResourceRequest) -> Query:
    return Query(accelerators=frozenset(needs.accelerators), instance_type=needs.instance_type)


def _unique(offers: Iterable[Offer]) -> Sequence[Offer]:
    unique: dict[tuple[str, str, str, bool], Offer] = {}
    for offer in offers:
        unique.setdefault((offer.cloud, offer.region, offer.instance_type, offer.spot), offer)
    return tuple(unique.values())


def _trusted(row: MachineRow) -> MachineRow:
    return replace(row, spot=None, spot_most=None) if (row.cloud, row.name, row.region) in _DISTRUSTED_SPOT else row
