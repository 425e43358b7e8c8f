"""The quote's prices as bounds of a launch: a place that costs more than the dearest quoted offer is left out. No SDK.

SkyPilot chooses by its own catalogue, which may know places that the quote did not, or may have changed since. The
quote told a person the most that the run may cost, so such a place gets no request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cvl_ci.model.offer import Offer
from cvl_ci.result.units import dollars

_ROUNDING = 1.001
"""SkyPilot adds a host and its GPUs in another order than the quote."""

Key = tuple[str, str, str, bool]


@dataclass(frozen=True, kw_only=True)
class QuotedPrices:
    """Prices of one machine alone, in dollars an hour.

    `most_usd`: the dearest quoted offer; None: the quote has no price, and only the time is limited. `believed`: the
    prices that count instead of SkyPilot's, by cloud, region, machine type and use of spot.
    """

    most_usd: float | None = None
    believed: Mapping[Key, float] = field(default_factory=dict)

    def hourly_usd(self, place: Mapping[str, Any]) -> float:
        """Return the price that counts for a place, as provision_hooks.describe has it."""
        key = str(place["cloud"]), str(place["region"]), str(place["instance_type"]), bool(place["spot"])
        return self.believed.get(key, float(place["hourly_usd"]))

    def refusal(self, hourly_usd: float) -> str:
        """Return why a place with this price is left out, or an empty text."""
        if self.most_usd is None or hourly_usd <= self.most_usd * _ROUNDING:
            return ""
        return (
            f"it costs {dollars(hourly_usd)} an hour by SkyPilot's catalogue, and the quote's dearest offer costs "
            f"{dollars(self.most_usd)}: `cvl-ci prices update` renews the quote's prices"
        )

    @property
    def values(self) -> dict[str, Any]:
        """Return plain values, for another process."""
        return {"most_usd": self.most_usd, "believed": [[*key, usd] for key, usd in self.believed.items()]}


def of_offers(offers: Sequence[Offer]) -> QuotedPrices:
    """Return the bounds that the offers of a quote set."""
    if not offers:
        return QuotedPrices()
    return QuotedPrices(
        most_usd=max(max(offer.hourly_usd, offer.most_usd) for offer in offers),
        believed={
            (offer.cloud, offer.region, offer.instance_type, offer.spot): offer.hourly_usd
            for offer in offers
            if offer.doubted_usd is not None
        },
    )


def of_values(values: Mapping[str, Any]) -> QuotedPrices:
    """Return the prices from the values of another process."""
    believed = {
        (str(cloud), str(region), str(machine), bool(spot)): float(usd)
        for cloud, region, machine, spot, usd in values["believed"]
    }
    return QuotedPrices(most_usd=values["most_usd"], believed=believed)
