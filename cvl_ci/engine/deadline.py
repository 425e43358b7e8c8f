"""When the money of an attempt ends: what max_cost buys is fewer hours of a dearer machine than was quoted. No SDK."""

from __future__ import annotations

import time
from collections.abc import Callable


class Deadline:
    """`at`, seconds since the epoch: the run's, or until when machines at the price now asked for are paid, if nearer.

    `node_usd`: what may be spent for each machine; None: no limit but the run's.
    """

    def __init__(self, latest: float, *, node_usd: float | None, now: Callable[[], float] = time.time) -> None:
        self._latest = latest
        self._node_usd = node_usd
        self._now = now
        self.at = latest

    def priced(self, hourly_usd: float) -> None:
        """Machines at this price are about to be asked for, each; an attempt before it that failed cost nothing."""
        self.at = self._latest
        if self._node_usd is not None and hourly_usd > 0:
            self.at = min(self._latest, self._now() + self._node_usd / hourly_usd * 3600)
