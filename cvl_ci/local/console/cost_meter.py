"""What a run has cost so far, from the price in force at each moment."""

from __future__ import annotations

from cvl_ci.result.units import dollars


class Meter:
    """Dollars so far, by the price in force at each moment."""

    def __init__(self) -> None:
        self._usd = 0.0
        self._hourly_usd = 0.0
        self._since = 0.0
        self._billed = True
        self._running = False

    def change(self, hourly_usd: float, *, billed: bool, now: float) -> bool:
        """From `now` on it costs this; False when it did before."""
        if self._running and (hourly_usd, billed) == (self._hourly_usd, self._billed):
            return False
        self._usd = self.usd(now)
        self._hourly_usd, self._billed, self._since, self._running = hourly_usd, billed, now, True
        return True

    def usd(self, now: float) -> float:
        return self._usd + self._hourly_usd * max(now - self._since, 0.0) / 3600

    def so_far(self, now: float) -> str:
        """` · $0.0120`, nothing while there is no price."""
        if not self._running:
            return ""
        usd = self.usd(now)
        shown = f"${usd:.4f}" if usd < 1 else dollars(usd)  # as many digits each time: it ticks
        return f" · {shown}{'' if self._billed else ' emulated'}"
