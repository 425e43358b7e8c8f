"""Hold the requirements of one machine, and its alternatives. Values only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from cvl_ci.model.location import Location


class Spot(enum.Enum):
    """Whether the provider may take the machine away: `fallback` tries spot everywhere first, then on-demand."""

    NEVER = "false"
    ALWAYS = "true"
    FALLBACK = "fallback"


@dataclass(frozen=True, kw_only=True)
class ResourceRequest:
    """Requirements of one machine. `accelerators`: alternatives, name → count; empty for none.

    `in_order`: the first alternative comes before the next at any price; otherwise the cheapest comes first. `exact`:
    which of cpus and memory_gib are exact values and not minimums, such as `cpus: 4` in a task. A count below 1 is a
    part of a GPU.
    """

    accelerators: Mapping[str, float] = field(default_factory=dict)
    cpus: float | None = None
    memory_gib: float | None = None
    disk_gb: int = 100
    instance_type: str | None = None
    in_order: bool = False
    exact: frozenset[str] = frozenset()
    memory_per_vcpu: float | None = None
    """The least GiB for each vCPU, as `memory: 4x` in a task."""
    unnamed: frozenset[str] = frozenset()
    """Those of the accelerators that no person named: of a memory such as `80GB+`, or of the instance type."""
    alternatives: tuple[Alternative, ...] = ()
    """The machines of a task's `any_of` or `ordered`. `accelerators` then lists all their GPUs."""

    @property
    def largest_disk_gb(self) -> int:
        """Return the largest disk that a machine of it may have."""
        return max([self.disk_gb, *(one.needs.disk_gb for one in self.alternatives)])

    @property
    def has_size(self) -> bool:
        """Return whether anything but the disk is required."""
        if self.alternatives:
            return all(one.needs.has_size for one in self.alternatives)
        return bool(self.accelerators or self.cpus or self.instance_type)


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One of the machines that a task would take, with its own location (None: any) and its own use of spot.

    `extra`: its keys that SkyPilot reads unchanged.
    """

    needs: ResourceRequest
    location: Location | None = None
    has_region_alone: bool = False
    """Whether the task names the region and any cloud: the location is one of several then."""
    spot: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)
