"""Compute when the money of an attempt ends: max_cost buys fewer hours of a more expensive machine than the quoted one.

No SDK.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Deadline:
    """End of an attempt, in epoch seconds: the run's end, or an earlier end of the money for these machines.

    `node_usd`: the money for each machine. None: only the run limits it.
    """

    def __init__(self, latest: float, *, node_usd: float | None, now: Callable[[], float] = time.time) -> None:
        self._latest = latest
        self._node_usd = node_usd
        self._now = now
        self.at = latest

    def priced(self, hourly_usd: float) -> None:
        """Set the end for machines at this price each, before they are requested.

        An attempt that failed cost nothing.
        """
        self.at = self._latest
        if self._node_usd is not None and hourly_usd > 0:
            self.at = min(self._latest, self._now() + self._node_usd / hourly_usd * 3600)
