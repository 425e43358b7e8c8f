"""How long a program took, so that a loaded machine can judge it: by the processor, and beside another program."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

_YARDSTICK = "import argparse, asyncio, dataclasses, json, logging, subprocess, urllib.request\nsum(range(1_000_000))"
"""It loads modules and counts, as the measured programs do."""
_YARDSTICK_SECONDS = 0.12
"""What the yardstick takes on a computer that does what the limits of the tests say."""


def children_seconds() -> float:
    """Of the processor: all children that have ended and were waited for, up to now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def interpreter_seconds() -> float:
    """By the clock: an interpreter that starts and does nothing. Who takes many of these has waited for something."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
    return time.monotonic() - start


@contextlib.contextmanager
def starts_meanwhile() -> Iterator[Callable[[], int]]:
    """Yield the number of interpreters that started and ended one after the other since the block began.

    It is a clock that runs as slowly as the computer itself does just then.
    """
    counts, is_over = [0], threading.Event()

    def count() -> None:
        while not is_over.is_set():
            interpreter_seconds()
            counts.append(len(counts))

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield lambda: counts[-1]
    finally:
        is_over.set()
        thread.join()


def within(spent: float, seconds: float) -> bool:
    """Return whether `spent` seconds of the processor are within `seconds` of a usual computer.

    A slower computer gets as many times more as it takes for the yardstick, measured here and now.
    """
    return spent < seconds or spent < seconds * max(_yardstick() for _ in range(3)) / _YARDSTICK_SECONDS


def _yardstick() -> float:
    before = children_seconds()
    subprocess.run([sys.executable, "-I", "-c", _YARDSTICK], check=True)
    return children_seconds() - before
