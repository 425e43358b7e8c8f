"""What machines cost and which there are: by a catalogue, which asks no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cvl_ci.model.plan import Needs, Offer, Place, Spot


class Prices(Protocol):
    """What machines cost, from a catalogue of a stated date: no network."""

    @property
    def date(self) -> str: ...

    def offers(self, needs: Needs, *, places: Sequence[Place], spot: Spot) -> Sequence[Offer]:
        """Machines that would do: in the order of `places`, within each (or without any) cheapest first."""

    def accelerators(self) -> Sequence[str]: ...

    def clouds(self) -> Sequence[str]: ...

    def regions(self, cloud: str) -> Sequence[str]: ...
