"""Hold an offer of a provider, and the quote of a plan. Values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One machine that fits, and its price. `hourly_usd` is for one node.

    `most_usd`: the price in the most expensive zone; 0: as `hourly_usd`. `doubted_usd`: the catalogue's own price,
    which is too far from that of the same GPU elsewhere; `hourly_usd` is then the usual price.
    """

    cloud: str
    region: str
    instance_type: str
    accelerators: Mapping[str, float]
    spot: bool
    hourly_usd: float
    most_usd: float = 0.0
    doubted_usd: float | None = None
    vcpus: float = 0.0
    memory_gib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The offers, cheapest first within the order of places, and the figures for all nodes.

    Figures in dollars last from the first machine's creation to the end of the release, keeping included, with disk and
    address. `first_usd`: on the first offer. `dearest_usd`: on the most expensive offer that the run may reach, by
    failover or fallback. `max_usd`: the lower of that one and max_cost. `hourly_usd`: of the machines alone.
    """

    offers: tuple[Offer, ...]
    hourly_usd: float | None
    """The price of the first offer × nodes; None if the catalogue has no price for the request."""
    first_usd: float | None
    dearest_usd: float | None
    max_usd: float | None
    deadline_minutes: float
    catalogue_date: str
    warnings: tuple[str, ...] = ()
