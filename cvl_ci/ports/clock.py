"""Time as a port: a test can replace the clock for each wait and each measurement."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The time of this computer."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds since a fixed moment; they never go back."""

    def sleep(self, seconds: float) -> None: ...
