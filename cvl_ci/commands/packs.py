"""Pack the legs of a matrix that ask for the same machine: they run in turn on one machine, as jobs of a queue. Pure.

A job of the workflow is then one machine with its legs, and no longer one leg. The machine is cleaned after each leg.
So no leg finds files of another one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvl_ci.result.units import dollars, duration

MOST_MINUTES = 350
"""GitHub ends a job of its own runners after six hours."""
MACHINE = "pack"
"""The key of the machine in each queue."""
LONGEST_ID = 63
NO_INPUT = "turn"
"""The value of a leg that tells repetitions apart. A job of a queue has its number for that."""


@dataclass(frozen=True, kw_only=True)
class MatrixLeg:
    """One leg.

    `inputs`: words for the action's inputs of the same names, and the turn of a repeated leg. `max_usd`: its largest
    possible cost. `minutes`: its longest possible time. `machine`: equal for legs that can share a machine; empty: it
    needs its own.
    """

    name: str
    inputs: Mapping[str, str]
    hourly_usd: float
    max_usd: float
    is_billed: bool = True
    minutes: float = 0.0
    machine: str = ""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Legs that run in turn on one machine. `number`: of the machine, from 1."""

    number: int
    legs: tuple[MatrixLeg, ...]

    @property
    def name(self) -> str:
        first, count = self.legs[0].name, len(self.legs) - 1
        return f"machine {self.number}: {first}{f' and {count} more' if count else ''}"

    @property
    def minutes(self) -> float:
        return sum(leg.minutes for leg in self.legs)

    @property
    def max_usd(self) -> float:
        return sum(leg.max_usd for leg in self.legs)

    @property
    def hourly_usd(self) -> float:
        return max(leg.hourly_usd for leg in self.legs)

    @property
    def queue(self) -> str:
        """Return the queue as text for the action's input `queue`, in one line."""
        shared = {"machine": MACHINE, "clean": True} if len(self.legs) > 1 else {}
        jobs = [
            {
                "id": _id(number, leg.name),
                "leg": leg.name,
                **shared,
                **{name: value for name, value in leg.inputs.items() if name != NO_INPUT},
            }
            for number, leg in enumerate(self.legs, 1)
        ]
        return json.dumps({"jobs": jobs}, ensure_ascii=False)


def pack(legs: Sequence[MatrixLeg]) -> tuple[Pack, ...]:
    """Return the packs in the order of their first legs. A pack that could outlast a job of GitHub is divided."""
    groups: list[list[MatrixLeg]] = []
    current: dict[str, list[MatrixLeg]] = {}
    for leg in legs:
        group = current.get(leg.machine) if leg.machine else None
        if group is None or sum(one.minutes for one in group) + leg.minutes > MOST_MINUTES:
            group = []
            groups.append(group)
            if leg.machine:
                current[leg.machine] = group
        group.append(leg)
    return tuple(Pack(number=number, legs=tuple(group)) for number, group in enumerate(groups, 1))


def include(packs: Sequence[Pack]) -> list[dict[str, str]]:
    """Return the entries of `strategy.matrix.include`."""
    return [
        {
            "name": one.name,
            "queue": one.queue,
            "legs": str(len(one.legs)),
            "minutes": f"{one.minutes:.0f}",
            "hourly_usd": f"{one.hourly_usd:.4f}",
            "max_usd": f"{one.max_usd:.2f}",
        }
        for one in packs
    ]


def lines(packs: Sequence[Pack]) -> list[str]:
    """Return one line about each machine, for a person."""
    return [
        f"machine {one.number}: {len(one.legs)} {'leg' if len(one.legs) == 1 else 'legs in turn'}, "
        f"{dollars(one.hourly_usd)}/h, at most {duration(one.minutes * 60)} and {dollars(one.max_usd)}: "
        f"{', '.join(leg.name for leg in one.legs)}"
        for one in packs
    ]


def _id(number: int, name: str) -> str:
    """Return the id of a leg as a job: its number, and its name as far as an id can have it."""
    return f"{number}-{re.sub(r'[^A-Za-z0-9_.]+', '-', name)}"[:LONGEST_ID].rstrip("-")
