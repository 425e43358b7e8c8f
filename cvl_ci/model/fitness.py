"""Fitness of a machine for its job, as a probe on it found it. Values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Fitness(enum.Enum):
    """Verdict of the probe. A missing answer is UNKNOWN and never HEALTHY."""

    HEALTHY = "healthy"
    SLOW = "slow"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class GpuState:
    """One GPU: the identity by which another run finds it again, and its figures. None: not measured."""

    uuid: str
    name: str = ""
    temperature_c: float | None = None
    clock_mhz: float | None = None
    most_clock_mhz: float | None = None
    tflops: float | None = None
    """In half precision."""
    to_gbs: float | None = None
    from_gbs: float | None = None
    """GB/s from the host's memory, and back to it."""
    throttled: tuple[str, ...] = ()
    """The driver's reasons for a lower clock."""


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """The verdict about one machine, its reasons with the worst first, and its figures."""

    fitness: Fitness
    findings: tuple[str, ...] = ()
    driver: str = ""
    gpus: tuple[GpuState, ...] = ()
    disk_mbs: float | None = None
    memory_gbs: float | None = None
    allreduce_gbs: float | None = None
    """GB/s between the nodes by NCCL, where its library is there."""
    seconds: float | None = None
    """The duration of the probe."""


NO_ANSWER = MachineState(fitness=Fitness.UNKNOWN, findings=("the probe gave no answer",))
