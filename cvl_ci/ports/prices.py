"""The prices of machines and the machines on sale, from a catalogue, without network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from cvl_ci.model.location import Location
from cvl_ci.model.offer import Offer
from cvl_ci.model.resource_request import ResourceRequest, Spot


class Prices(Protocol):
    """Prices of machines from a dated catalogue. No network."""

    @property
    def date(self) -> str: ...

    def date_of(self, clouds: Collection[str]) -> str:
        """Return the source and the day of the prices of these clouds, as far as they are known."""

    def age_warning(self, clouds: Collection[str]) -> str:
        """Return why the prices of these clouds may be out of date, or an empty text."""

    def offers(self, needs: ResourceRequest, *, locations: Sequence[Location], spot: Spot) -> Sequence[Offer]:
        """Return suitable machines in the order of `locations`, the cheapest first within each or without locations."""

    def accelerators(self) -> Sequence[str]: ...

    def is_complete(self, cloud: str) -> bool:
        """Return whether the catalogue lists every machine of a cloud. Our own table lists a few."""

    def clouds(self) -> Sequence[str]: ...

    def regions(self, cloud: str) -> Sequence[str]: ...

    def machine_types(self, cloud: str) -> Sequence[str]:
        """Return the names of a cloud's machine types, as far as the catalogue lists them."""
