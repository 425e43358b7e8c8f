"""The cost of a run so far, from the price at each moment."""

from __future__ import annotations

from cvl_ci.result.units import dollars


class CostMeter:
    """Adds up dollars, from the price at each moment."""

    def __init__(self) -> None:
        self._usd = 0.0
        self._hourly_usd = 0.0
        self._since = 0.0
        self._billed = True
        self._running = False

    def change(self, hourly_usd: float, *, billed: bool, now: float) -> bool:
        """Set the price from `now` on. Return False if it is unchanged."""
        if self._running and (hourly_usd, billed) == (self._hourly_usd, self._billed):
            return False
        self._usd = self.usd(now)
        self._hourly_usd, self._billed, self._since, self._running = hourly_usd, billed, now, True
        return True

    def usd(self, now: float) -> float:
        return self._usd + self._hourly_usd * max(now - self._since, 0.0) / 3600

    def so_far(self, now: float) -> str:
        """Return a text such as ` · $0.0120`, empty while there is no price."""
        if not self._running:
            return ""
        usd = self.usd(now)
        text = f"${usd:.4f}" if usd < 1 else dollars(usd)  # always the same number of digits: the line redraws
        return f" · {text}{'' if self._billed else ' emulated'}"
