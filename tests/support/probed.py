"""A job's script for this computer: its probe copies 4 MiB of memory, where a machine's copies 64.

The same steps run, and tests/engine/test_fitness.py tries them at their size. They are half of what a short job costs.
"""

from __future__ import annotations

_SIZES, _SMALL = "DISK_BLOCKS, MEMORY_BLOCKS = 16, 64", "DISK_BLOCKS, MEMORY_BLOCKS = 16, 4"


def briefly(text: str) -> str:
    """Return the script with the small size. A script without the probe stays as it is."""
    assert (_SIZES in text) == ("MEMORY_BLOCKS =" in text), "the probe names its sizes in another way"
    return text.replace(_SIZES, _SMALL)
