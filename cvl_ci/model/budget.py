"""Hold the money of a run: max_cost, less the cost of its earlier machines, as time on the next ones. Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cvl_ci.model.billing import extra_hourly_usd, rules_of
from cvl_ci.model.launch import Launch


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The machines of one attempt, as a price. `hourly_usd`: of one machine alone, without its disk and address."""

    cloud: str
    hourly_usd: float
    nodes: int = 1
    disk_gb: float = 0.0

    @classmethod
    def of(cls, launch: Launch, *, disk_gb: float) -> Fleet:
        return cls(cloud=launch.cloud, hourly_usd=launch.hourly_usd, nodes=launch.num_nodes, disk_gb=disk_gb)

    def total_hourly_usd(self, *, at: float) -> float:
        """Return the price of all machines with their disks and addresses, as far as a source gives it."""
        return self.nodes * (self.hourly_usd + extra_hourly_usd(self.cloud, disk_gb=self.disk_gb, at=at))

    def cost_usd(self, *, seconds: float, at: float, machines: int | None = None, before: float = 0.0) -> float:
        """Return the cost of this time by the provider's rules. `machines`: fewer than all.

        `before`: for how many seconds the machines had lived. That time, and a provider's minimum in it, is not in it.
        """
        share, rules = 1.0 if machines is None else machines / self.nodes, rules_of(self.cloud)
        billed = rules.billed_seconds(before + seconds) - rules.billed_seconds(before)
        return self.total_hourly_usd(at=at) * share * billed / 3600


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limit of a run and the dollars that earlier machines have cost. `max_usd` None: there is no limit."""

    max_usd: float | None = None
    spent_usd: float = 0.0

    @property
    def remaining_usd(self) -> float:
        """Return the dollars for further machines; infinite without a limit."""
        return math.inf if self.max_usd is None else max(0.0, self.max_usd - self.spent_usd)

    def after(self, usd: float) -> Budget:
        """Return the budget once this much more was spent."""
        return replace(self, spent_usd=self.spent_usd + usd)

    def seconds(self, fleet: Fleet, *, at: float) -> float:
        """Return how long it pays for these machines; 0.0 if it does not pay for the provider's minimum.

        It is infinite without a limit, and for machines of unknown price.
        """
        if self.max_usd is None or fleet.hourly_usd <= 0:
            return math.inf
        seconds = self.remaining_usd / fleet.total_hourly_usd(at=at) * 3600
        rules = rules_of(fleet.cloud)
        unit = rules.granularity_seconds or 0.0
        units = math.floor(seconds / unit + 1e-9) * unit if unit else seconds
        return units if units >= (rules.minimum_seconds or 0.0) else 0.0
