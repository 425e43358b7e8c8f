"""Whether all machines of a cluster are still there, asked of the provider while the job's lines stream.

SkyPilot's stream is the head's: it goes on while another machine is gone, and the head waits for that one as long as
the job may run, at the price of all that are left (seen on two machines: SkyPilot 0.14.1 said nothing for 17 minutes).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LOOK_SECONDS = 20.0
LOOKS = 2
"""In a row: what a provider lists may be a moment behind."""


class Roll(threading.Thread):
    """`there()`: how many the provider shows; it may raise. `lost(found)` is said once, then no more is asked."""

    def __init__(
        self, there: Callable[[], int], *, nodes: int, lost: Callable[[int], None], every: float = LOOK_SECONDS
    ) -> None:
        super().__init__(daemon=True, name="roll")
        self._there, self._nodes, self._lost, self._every = there, nodes, lost, every
        self._over = threading.Event()

    def run(self) -> None:
        missed = 0
        while not self._over.wait(self._every):
            found = self._nodes  # a provider that does not answer says nothing of its machines
            with suppress(Exception):
                found = self._there()
            missed = missed + 1 if found < self._nodes else 0
            if missed >= LOOKS and not self._over.is_set():
                self._lost(found)
                return

    def stop(self) -> None:
        self._over.set()


@contextmanager
def called(there: Callable[[], int], *, nodes: int, lost: Callable[[int], None]) -> Iterator[None]:
    """While the job runs. One machine alone needs it not: with it the stream ends."""
    if nodes < 2:
        yield
        return
    roll = Roll(there, nodes=nodes, lost=lost)
    roll.start()
    try:
        yield
    finally:
        roll.stop()
