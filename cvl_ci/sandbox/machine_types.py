"""The machine types that the emulated AWS sells: rows from the caller, never a table of our own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class MachineType:
    """One row of a price list: a machine type in a region, with its price in USD an hour."""

    name: str
    vcpus: float
    memory_gib: float
    accelerator: str | None
    accelerator_count: int
    accelerator_memory_gib: float
    hourly_usd: float
    spot_hourly_usd: float | None
    region: str


def regions_of(types: Sequence[MachineType]) -> tuple[str, ...]:
    """Return the regions in the order of their first row. The first one is the default region."""
    return tuple(dict.fromkeys(machine_type.region for machine_type in types))


def to_json(types: Sequence[MachineType]) -> list[dict[str, object]]:
    return [asdict(machine_type) for machine_type in types]


def fingerprint(types: Sequence[MachineType]) -> str:
    return hashlib.sha256(json.dumps(to_json(types), sort_keys=True).encode()).hexdigest()[:16]
