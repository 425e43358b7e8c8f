"""Whose turn it is when a job runs several times on one machine. Pure."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from cvl_ci.model.plan import RunPlan

ALONE, HEAD, BASE = "sample", "head", "base"
NAME = re.compile(r"(?:sample|head|base)-[1-9]\d{0,2}")
_TURN = re.compile(rf"cvl-ci: turn \d{{1,3}} of \d{{1,3}}: {NAME.pattern}")


@dataclass(frozen=True, kw_only=True)
class Turn:
    side: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.side}-{self.number}"


def order(plan: RunPlan, *, seed: str) -> list[Turn]:
    """Of two sides in pairs, which of the two comes first thrown anew; by `seed`, so that it can be told again."""
    numbers = range(1, plan.repeat + 1)
    if plan.against is None:
        return [Turn(side=ALONE, number=number) for number in numbers]
    dice = random.Random(seed)  # noqa: S311  nobody gains by foreseeing it
    pairs = [dice.sample((HEAD, BASE), 2) for _ in numbers]
    return [Turn(side=side, number=number) for number, pair in zip(numbers, pairs, strict=True) for side in pair]


def is_turn(line: str) -> bool:
    """What is said at the beginning of each turn, and is no word of the job's."""
    return _TURN.fullmatch(line) is not None
