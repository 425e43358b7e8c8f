"""The figures of a quote: the first offer, the most expensive offer that the run may reach, and max_cost. Pure.

Each includes all nodes with their disks and addresses, from the first machine's creation to the end of the release, and
the time for which a machine is kept.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence

from cvl_ci.model.budget import Fleet
from cvl_ci.model.offer import Offer
from cvl_ci.model.plan import RunPlan

IN_THE_SHORTEST_MONTH = float(calendar.timegm((2026, 2, 1, 0, 0, 0)))
"""A disk's price is for a month, so its hour costs most in February."""


def hourly_usd(plan: RunPlan, offer: Offer) -> float:
    """Return the price of all machines with disk and address, at the offer's own price."""
    return _hourly(plan, offer, offer.hourly_usd)


def most_hourly_usd(plan: RunPlan, offer: Offer) -> float:
    """Return the same at the highest price that the offer may have."""
    return _hourly(plan, offer, max(offer.hourly_usd, offer.most_usd))


def most_expensive(plan: RunPlan, offers: Sequence[Offer]) -> Offer:
    """Return the most expensive offer that the run may reach: failover and fallback may take each of them."""
    return max(offers, key=lambda offer: (most_hourly_usd(plan, offer), not offer.spot))


def first_usd(plan: RunPlan, offer: Offer) -> float:
    """Return the price of the whole run at the offer's own price."""
    return _until_the_end(plan, hourly_usd(plan, offer))


def most_usd(plan: RunPlan, offer: Offer) -> float:
    """Return the price of the whole run at the highest price that the offer may have."""
    return _until_the_end(plan, most_hourly_usd(plan, offer))


def capped_by_max_cost(plan: RunPlan, usd: float) -> float:
    """Return the figure, or max_cost where it is lower."""
    return usd if plan.limits.max_cost_usd is None else min(usd, plan.limits.max_cost_usd)


def _hourly(plan: RunPlan, offer: Offer, node_usd: float) -> float:
    fleet = Fleet(
        cloud=offer.cloud,
        hourly_usd=node_usd,
        nodes=plan.machines.num_nodes,
        disk_gb=plan.machines.needs.largest_disk_gb,
    )
    return fleet.total_hourly_usd(at=IN_THE_SHORTEST_MONTH)


def _until_the_end(plan: RunPlan, hourly: float) -> float:
    return hourly * (plan.limits.longest_minutes + plan.limits.keep_minutes) / 60
