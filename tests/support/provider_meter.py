"""A provider's own meter: what each machine costs by the clock, computed apart from the product's arithmetic.

Its figures are written down again here on purpose: dollars an hour, and AWS's rules of billing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MINIMUM_SECONDS, FREE_SPOT_SECONDS = 60, 3600
ADDRESS_HOURLY = 0.005
GB_MONTH, DISK_MONTH = 0.08, 500 * 0.005 + 93 * 0.04


@dataclass
class Metered:
    """One machine on the meter. `died` None: it runs. `limit`: the moment of its own timer, which ends it."""

    hourly_usd: float
    disk_gb: float
    spot: bool
    born: float
    died: float | None = None
    taken: bool = False
    limit: float = math.inf

    def usd(self, now: float, *, month_hours: float) -> float:
        lived = min(now if self.died is None else self.died, self.limit) - self.born
        hours = max(MINIMUM_SECONDS, math.ceil(lived - 1e-6)) / 3600
        if lived <= 0:
            return 0.0
        is_free = self.spot and self.taken and lived < FREE_SPOT_SECONDS
        rest = (GB_MONTH * self.disk_gb + DISK_MONTH) / month_hours + ADDRESS_HOURLY
        return hours * (rest + (0.0 if is_free else self.hourly_usd))


@dataclass
class Meter:
    """All machines of an account. `month_hours`: of the month in which the clock of the fakes begins, January 2027."""

    machines: dict[str, Metered] = field(default_factory=dict)
    month_hours: float = 31 * 24

    def start(self, name: str, *, hourly_usd: float, disk_gb: float, spot: bool, now: float) -> None:
        self.machines[name] = Metered(hourly_usd=hourly_usd, disk_gb=disk_gb, spot=spot, born=now)

    def stop(self, name: str, *, now: float, taken: bool = False) -> None:
        machine = self.machines.get(name)
        if machine is not None and machine.died is None:
            machine.died, machine.taken = now, taken

    @property
    def is_over(self) -> bool:
        """True where machines lived and all have ended."""
        return bool(self.machines) and all(machine.died is not None for machine in self.machines.values())

    def usd(self, now: float) -> float:
        return sum(machine.usd(now, month_hours=self.month_hours) for machine in self.machines.values())
