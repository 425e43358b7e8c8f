"""The one way to try again, with a longer pause after each failure, and the one way to look again at a fixed pace."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
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


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A fixed pause between looks at something that changes by itself, and the longest time for all looks."""

    every_seconds: float
    within_seconds: float = math.inf
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic

    def ticks(self, *, until: float | None = None) -> Iterator[None]:
        """Yield before each look, with a pause between two of them, until the time is over. There is at least one look.

        `until`: the end of a longer work, by `now`, instead of `within_seconds` from the first look on.
        """
        end = self.now() + self.within_seconds if until is None else until
        yield
        while self.now() < end:
            self.pause()
            yield

    def pause(self) -> None:
        """Pause one time, in a loop that knows its end by itself."""
        self.sleep(self.every_seconds)
