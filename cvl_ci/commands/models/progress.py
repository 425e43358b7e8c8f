"""The progress of a transfer: bytes, speed and time left, as lines for a person."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cvl_ci.ports import Clock
from cvl_ci.result.units import duration, size

EVERY_SECONDS = 5.0


class TransferProgress:
    """Counts bytes from many threads. `tell` receives a line at most every five seconds."""

    def __init__(self, total: int, *, clock: Clock, tell: Callable[[str], None]) -> None:
        self._total, self._clock, self._tell = total, clock, tell
        self._lock = threading.Lock()
        self._began = self._told = clock.monotonic()
        self.moved = 0

    def add(self, count: int) -> None:
        with self._lock:
            self.moved += count
            now = self._clock.monotonic()
            if now - self._told < EVERY_SECONDS or self.moved >= self._total:
                return
            self._told = now
            line = self._line(now - self._began)
        self._tell(line)

    def _line(self, seconds: float) -> str:
        speed = self.moved / seconds
        remaining = duration(max(self._total - self.moved, 0) / speed) if speed else "unknown time"
        percent = 100 * self.moved // max(self._total, 1)
        return f"{size(self.moved)} of {size(self._total)} ({percent} %), {size(int(speed))}/s, {remaining} left"
