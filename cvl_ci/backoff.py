"""The one way to try again: a pause after each failure, each longer than the one before, with injectable chance."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """A number of tries and the pauses between them.

    The pause after try n is `first_seconds * growth**n`, at most `longest_seconds`. Chance adds up to `jitter` times as
    much again, so that callers that failed together do not come back together. `chance` returns a number from 0 up
    to 1.
    """

    tries: int
    first_seconds: float
    growth: float = 2.0
    longest_seconds: float = 60.0
    jitter: float = 0.0
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def seconds(self, attempt: int, *, requested: float | None = None) -> float:
        """Return the pause after this attempt, counted from 0. `requested`: the pause that a server asks for.

        A server that asks for no pause gets none.
        """
        own = min(self.first_seconds * self.growth**attempt, self.longest_seconds)
        if requested is None:
            requested = own
        spread = self.jitter * own * self.chance() if self.jitter and requested else 0.0
        return min(requested, self.longest_seconds) + spread

    def run(self, do: Callable[[], Result], *, pause: Callable[[Exception, int], float | None]) -> Result:
        """Return the result of `do`, which gets `tries` tries. Raise the exception of the last one.

        `pause` gets an exception and its attempt, counted from 0. It returns seconds; None raises the exception.
        """
        for attempt in range(self.tries - 1):
            try:
                return do()
            except Exception as error:
                seconds = pause(error, attempt)
                if seconds is None:
                    raise
            self.sleep(seconds)
        return do()
