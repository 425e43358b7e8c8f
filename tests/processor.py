"""How long a program worked, of the processor: the other work of a loaded machine is not in it, as by a clock it is."""

from __future__ import annotations

import resource


def children_seconds() -> float:
    """Of all children that have ended and were waited for, up to now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
