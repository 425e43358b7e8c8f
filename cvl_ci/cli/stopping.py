"""Signals at the terminal: the first one stops the run, and no later one stops the release."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopping:
    """Handle signals: the first one stops the run, by KeyboardInterrupt.

    From then on the machine is taken down. No later signal can stop that: it only prints a message. Within `again` one
    more signal interrupts.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._may_stop = True
        self._by_a_person = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._may_stop:
            self._say("Still taking the machine down: stopping now would leave it running.")
            return
        self._may_stop, self._by_a_person = False, number == signal.SIGINT
        raise KeyboardInterrupt

    @contextmanager
    def again(self) -> Iterator[None]:
        """Print the message. A system that sends another signal may kill this process some seconds later."""
        if not self._by_a_person:
            raise KeyboardInterrupt
        self._may_stop = True
        try:
            yield
        finally:
            self._may_stop = False


@contextmanager
def interruptible() -> Iterator[None]:
    """End a block by KeyboardInterrupt on each signal that ends a program, so that it removes what it wrote."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
