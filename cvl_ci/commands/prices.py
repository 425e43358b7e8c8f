"""List every offer for a GPU, the cheapest first: what a person asks before choosing a machine. No network, no SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvl_ci.inputs import accelerators
from cvl_ci.model.location import Location
from cvl_ci.model.offer import Offer
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.ports import Prices
from cvl_ci.result.units import dollars, percent

COUNTS = (1, 2, 4, 8, 16)
"""The GPU counts of the clouds' machines."""

_HEAD = ("$/hour", "$/GPU-hour", "machine", "where", "", "has", "GPU memory", "spot saves")


@dataclass(frozen=True, kw_only=True)
class PriceRequest:
    """The GPU and its count, the places (none: every cloud), and whether only spot or only on-demand counts."""

    accelerators: Mapping[str, float]
    locations: tuple[Location, ...] = ()
    spot: bool | None = None
    memory_gb: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class PricedOffer:
    """One offer with the figures of the table. `saving`: the share of the price that spot saves; None: unknown."""

    offer: Offer
    gpu_usd: float | None
    gpu_memory_gb: float
    saving: float | None


def offers(request: PriceRequest, prices: Prices) -> Sequence[PricedOffer]:
    """Return every offer, the cheapest GPU first. Spot and on-demand are offers of their own."""
    gpus = [{name: count} for name, count in accelerators.of(request.accelerators).pairs] or [{}]
    requests = [ResourceRequest(accelerators=gpu) for gpu in gpus]
    on_demand, on_spot = (
        _by_machine([offer for one in requests for offer in prices.offers(one, locations=request.locations, spot=spot)])
        for spot in (Spot.NEVER, Spot.ALWAYS)
    )
    rows: list[PricedOffer] = []
    for is_spot, machines in ((False, on_demand), (True, on_spot)):
        if request.spot in (None, is_spot):
            rows += [_price_of(offer, on_demand.get(key), on_spot.get(key), request) for key, offer in machines.items()]
    return sorted(rows, key=lambda one: (one.gpu_usd or one.offer.hourly_usd, one.offer.hourly_usd, one.offer.region))


def _by_machine(offers: Sequence[Offer]) -> Mapping[tuple[str, str, str], Offer]:
    return {(offer.cloud, offer.region, offer.instance_type): offer for offer in offers}


def _price_of(offer: Offer, on_demand: Offer | None, on_spot: Offer | None, request: PriceRequest) -> PricedOffer:
    count = sum(offer.accelerators.values())
    saving = None
    if on_demand and on_spot and on_demand.hourly_usd > 0:
        saving = 1 - on_spot.hourly_usd / on_demand.hourly_usd
    return PricedOffer(
        offer=offer,
        gpu_usd=offer.hourly_usd / count if count else None,
        gpu_memory_gb=sum(request.memory_gb.get(name, 0) * one for name, one in offer.accelerators.items()),
        saving=saving,
    )


def notes(rows: Sequence[PricedOffer], prices: Prices) -> list[str]:
    """Return the source of the prices, their age if they are old, and the prices that are not believed."""
    clouds = list(dict.fromkeys(one.offer.cloud for one in rows))
    warning = prices.age_warning(clouds)
    return [f"Prices: {prices.date_of(clouds)}.", *([warning] if warning else []), *doubts([p.offer for p in rows])]


def doubts(offers: Sequence[Offer]) -> list[str]:
    """Return a line for each price of the catalogue that is too far from the usual one."""
    return [
        f"{offer.cloud}/{offer.region} {offer.instance_type}{' spot' if offer.spot else ''}: the catalogue says "
        f"{dollars(offer.doubted_usd)} an hour, which is not believed. The usual {dollars(offer.hourly_usd)} counts."
        for offer in offers
        if offer.doubted_usd is not None
    ]


def counts_with_price(request: PriceRequest, prices: Prices) -> str:
    """Return `8 × H100 on aws, gcp`: the counts of these GPUs that have a price anywhere."""
    clouds_of: dict[str, list[str]] = {}
    for name, count_asked in request.accelerators.items():
        for count in dict.fromkeys((*COUNTS, count_asked)):
            options = prices.offers(ResourceRequest(accelerators={name: count}), locations=(), spot=Spot.NEVER)
            if clouds := list(dict.fromkeys(offer.cloud for offer in options)):
                clouds_of[f"{count:g} × {name}"] = clouds
    return "; ".join(f"{gpus} on {', '.join(clouds)}" for gpus, clouds in clouds_of.items())


def as_json(rows: Sequence[PricedOffer], prices: Prices) -> str:
    """Return the table for programs: always these keys."""
    return json.dumps(
        {
            "offers": [
                {
                    "cloud": one.offer.cloud,
                    "region": one.offer.region,
                    "instance_type": one.offer.instance_type,
                    "accelerators": dict(one.offer.accelerators),
                    "spot": one.offer.spot,
                    "hourly_usd": round(one.offer.hourly_usd, 6),
                    "gpu_hourly_usd": None if one.gpu_usd is None else round(one.gpu_usd, 6),
                    "gpu_memory_gb": one.gpu_memory_gb or None,
                    "vcpus": one.offer.vcpus,
                    "memory_gib": one.offer.memory_gib,
                    "spot_saving": None if one.saving is None else round(one.saving, 4),
                    "doubted_usd": one.offer.doubted_usd,
                }
                for one in rows
            ],
            "notes": notes(rows, prices),
        },
        indent=2,
    )


def as_text(rows: Sequence[PricedOffer], prices: Prices) -> str:
    """Return the table for a person."""
    lines_of_cells = [_HEAD, *map(_row, rows)]
    widths = [max(len(row[at]) for row in lines_of_cells) for at in range(len(_HEAD))]
    right = {0, 1, 6, 7}
    lines = [
        "  ".join(
            f"{cell:>{width}}" if at in right else f"{cell:<{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in lines_of_cells
    ]
    return "\n".join([*lines, "", *notes(rows, prices)])


def _row(one: PricedOffer) -> tuple[str, ...]:
    offer = one.offer
    gpus = [f"{count:g} × {name}" for name, count in offer.accelerators.items()]
    doubted = " ?" if offer.doubted_usd is not None else ""
    return (
        f"{offer.hourly_usd:.3f}{doubted}",
        "" if one.gpu_usd is None else f"{one.gpu_usd:.3f}",
        offer.instance_type,
        f"{offer.cloud}/{offer.region}",
        "spot" if offer.spot else "on-demand",
        ", ".join([*gpus, f"{offer.vcpus:g} vCPUs", f"{offer.memory_gib:g} GiB"]),
        f"{one.gpu_memory_gb:g} GB" if one.gpu_memory_gb else "",
        percent(one.saving) if one.saving is not None and one.saving > 0 else "",
    )
