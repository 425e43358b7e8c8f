"""Time, as an argument: what waits or measures is told by a test's clock as well."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never set back."""

    def sleep(self, seconds: float) -> None: ...
