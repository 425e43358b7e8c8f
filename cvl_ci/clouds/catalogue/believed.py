"""Prices that are far from those of the same GPU elsewhere are not believed. Pure.

SkyPilot's catalogue has had prices that were 1.75 to 345 times wrong. Such a price must neither rank a machine first
nor bound what a run may cost, so the median of its GPU takes its place.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cvl_ci.clouds.catalogue.machine_row import MachineRow

LOWEST, HIGHEST = 0.2, 4.0
"""A price below this share of the median, or above this multiple of it, is not believed."""

FEWEST_TYPES = 3
"""Fewer machine types say nothing about the usual price of a GPU."""


@dataclass(frozen=True, kw_only=True)
class Usual:
    """The usual price of a GPU an hour, or of a vCPU, and the usual number of vCPUs that come with it."""

    unit_usd: float
    vcpus: float


Key = tuple[str | None, bool]


def usual_prices(rows: Iterable[MachineRow]) -> Mapping[Key, Usual]:
    """Return the medians by GPU and use of spot. Each machine type has one vote, however many regions it has."""
    votes: dict[Key, dict[tuple[str, str], list[tuple[float, float]]]] = {}
    for row in rows:
        for on_spot in (False, True):
            price = row.at(on_spot=on_spot)
            if price is not None and row.units:
                types = votes.setdefault((row.accelerator, on_spot), {})
                types.setdefault((row.cloud, row.name), []).append((price / row.units, row.vcpus / row.units))
    return {
        key: Usual(
            unit_usd=_median([[price for price, _ in one] for one in types.values()]),
            vcpus=_median([[vcpus for _, vcpus in one] for one in types.values()]),
        )
        for key, types in votes.items()
        if len(types) >= FEWEST_TYPES
    }


def checked(row: MachineRow, usual: Mapping[Key, Usual]) -> MachineRow:
    """Return the row with the usual price where its own is not believed."""
    doubted: dict[bool, float] = {}
    prices: dict[bool, float | None] = {False: row.price, True: row.spot}
    most = row.spot_most
    for on_spot, price in prices.items():
        expected = _expected(row, usual.get((row.accelerator, on_spot)))
        if price is None or expected is None:
            continue
        # A spot price without a discount is as good as the price on demand.
        highest = max(HIGHEST * expected[1], (prices[False] or 0.0) if on_spot else 0.0)
        if not LOWEST * expected[0] <= price <= highest:
            doubted[on_spot], prices[on_spot] = price, expected[1]
        if on_spot and most is not None and (on_spot in doubted or most > highest):
            most = max(prices[True] or 0.0, expected[1])
    if not doubted:
        return replace(row, spot_most=most) if most != row.spot_most else row
    return replace(row, price=prices[False], spot=prices[True], spot_most=most, doubted=doubted)


def _expected(row: MachineRow, usual: Usual | None) -> tuple[float, float] | None:
    """Return the usual price of its GPUs, and that price with a host as large as its own."""
    if usual is None or not row.units:
        return None
    plain = usual.unit_usd * row.units
    return plain, plain * max(1.0, row.vcpus / row.units / usual.vcpus if usual.vcpus else 1.0)


def _median(votes: Sequence[Sequence[float]]) -> float:
    return statistics.median(statistics.median(one) for one in votes)
