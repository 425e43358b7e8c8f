"""A detached run whose job is not over: until when at most, and what it costs so far."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.model.budget import Fleet
from cvl_ci.model.detached import Detached


@dataclass(frozen=True, kw_only=True)
class StillRunning:
    """A run that is not over. `until`: its end at the latest, in epoch seconds; `usd`: its cost so far.

    `doubt`: why nothing certain is known of it; empty for a machine that the provider shows.
    `was_released`: its machine was taken down already, and an error hides its end.
    """

    lease: str
    title: str
    until: float
    usd: float
    billed: bool = True
    doubt: str = ""
    was_released: bool = False


def cost_so_far(detached: Detached, *, now: float) -> float:
    """Return the dollars of the machines until now."""
    launch = detached.launch
    fleet = Fleet.of(launch, disk_gb=detached.spending.disk_gb)
    return fleet.cost_usd(seconds=max(0.0, now - launch.created_at), at=now)
