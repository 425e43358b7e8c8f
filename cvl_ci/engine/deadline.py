"""Compute when the money of an attempt ends: max_cost buys fewer hours of a more expensive machine than the quoted one.

No SDK.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from cvl_ci.model.budget import Budget, Fleet
from cvl_ci.model.location import SANDBOX

LATE_SECONDS = 150.0
"""Without a timer armed at boot, a machine ends up to this much later: SkyPilot counts whole minutes."""
_WITH_TIMER = {"aws", SANDBOX}


class Deadline:
    """End of an attempt, in epoch seconds: the run's end, or an earlier end of the money for these machines.

    `budget`: the money for all `nodes` machines, less what earlier attempts have cost. `disk_gb`: of each machine.
    """

    def __init__(
        self,
        latest: float,
        *,
        budget: Budget | None = None,
        nodes: int = 1,
        disk_gb: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._latest = latest
        self._budget = budget or Budget()
        self._nodes = nodes
        self._disk_gb = disk_gb
        self._now = now
        self._fleet: Fleet | None = None
        self._requested_at = 0.0
        self.at = latest
        self.is_affordable = True

    @property
    def spent_usd(self) -> float:
        """Return the cost of the attempts before this one."""
        return self._budget.spent_usd

    @property
    def money(self) -> dict[str, float | None]:
        """Return the money and the machines as plain values, for another process."""
        budget = self._budget
        values = {"max_usd": budget.max_usd, "spent_usd": budget.spent_usd}
        return {**values, "nodes": self._nodes, "disk_gb": self._disk_gb}

    def set_price(self, hourly_usd: float, *, cloud: str) -> None:
        """Set the end for machines at this price each, before they are requested."""
        now = self._now()
        fleet = Fleet(cloud=cloud, hourly_usd=hourly_usd, nodes=self._nodes, disk_gb=self._disk_gb)
        paid = self._budget.seconds(fleet, at=now) - (0.0 if cloud in _WITH_TIMER else LATE_SECONDS)
        self._fleet, self._requested_at = fleet, now
        self.is_affordable = paid > 0
        self.at = min(self._latest, now + max(0.0, paid))

    def note_failure(self, machines: int) -> None:
        """Subtract the cost of an attempt whose machines came up and failed. A refused request costs nothing."""
        if self._fleet is None or not machines:
            return
        now = self._now()
        usd = self._fleet.cost_usd(seconds=now - self._requested_at, at=now, machines=machines)
        self._budget = self._budget.after(usd)


def of(latest: float, values: Mapping[str, float | None]) -> Deadline:
    """Return the deadline from the values of `Deadline.money`, in another process."""
    budget = Budget(max_usd=values["max_usd"], spent_usd=values["spent_usd"] or 0.0)
    return Deadline(latest, budget=budget, nodes=int(values["nodes"] or 1), disk_gb=values["disk_gb"] or 0.0)
