"""How long a program took, so that a loaded machine can judge it: by the processor, and beside a bare interpreter."""

from __future__ import annotations

import resource
import subprocess
import sys
import time


def children_seconds() -> float:
    """Of the processor: all children that have ended and were waited for, up to now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def interpreter_seconds() -> float:
    """By the clock: an interpreter that starts and does nothing. Who takes many of these has waited for something."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
    return time.monotonic() - began
