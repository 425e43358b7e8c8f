"""The sizes of machines, within what any cloud sells: a slip such as two zeros more is a mistake, not a bill. Pure."""

from __future__ import annotations

from cvl_ci.inputs import parsers
from cvl_ci.inputs.parsers import Wrong

MOST_NODES = 1_000
"""A bound against a slip, such as a port in the place of a number: each machine has its own price."""
MOST_DISK_GB = 65_536
"""The largest volume of a cloud: io2 Block Express and gp3 of EBS, Hyperdisk, and Premium SSD v2 have 64 TiB."""
MOST_VCPUS = 1_920
"""u7inh-32tb.480xlarge of AWS and x4-megamem-1920-metal of Google Cloud are the largest machines on sale."""
MOST_MEMORY_GIB = 32_768
"""The memory of these machines."""


def nodes(value: object) -> int:
    number = parsers.whole_number(value)
    if number > MOST_NODES:
        raise Wrong(f"is more than {MOST_NODES:,} machines, the most that one run may have")
    return number


def vcpus(value: object) -> float:
    """Return a least number of vCPUs: `4` and `4+` both mean at least 4. Raise Wrong."""
    number = parsers.amount(value)
    if number > MOST_VCPUS:
        raise Wrong(f"is more than {MOST_VCPUS:,} vCPUs, and no cloud has a larger machine")
    return number


def memory(value: object) -> float:
    """Return a least memory in GiB, as parsers.gibibytes reads it. Raise Wrong."""
    number = parsers.gibibytes(value)
    if number > MOST_MEMORY_GIB:
        raise Wrong(f"is more than {MOST_MEMORY_GIB:,} GiB, and no cloud has a larger machine")
    return number


def disk(value: object) -> int:
    """Return a size in GB, as parsers.gigabytes reads it. Raise Wrong."""
    number = parsers.gigabytes(value)
    if number > MOST_DISK_GB:
        raise Wrong(f"is more than {MOST_DISK_GB:,} GB, and no cloud has a larger volume")
    return number
