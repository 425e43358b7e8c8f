"""Order the trials of a job that runs several times on one machine. Pure."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from cvl_ci.model.plan import RunPlan

ALONE, HEAD, BASE = "sample", "head", "base"
NAME = re.compile(r"(?:sample|head|base)-[1-9]\d{0,2}")
_TRIAL = re.compile(rf"cvl-ci: trial \d{{1,3}} of \d{{1,3}}: {NAME.pattern}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    side: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.side}-{self.number}"


def order(plan: RunPlan, *, seed: str) -> list[Trial]:
    """Return the trials, of two sides in pairs.

    `seed` decides which side of each pair starts, and repeats the same order.
    """
    numbers = range(1, plan.trials.repeat + 1)
    if plan.trials.base is None:
        return [Trial(side=ALONE, number=number) for number in numbers]
    dice = random.Random(seed)  # noqa: S311  predicting the order gives no advantage
    pairs = [dice.sample((HEAD, BASE), 2) for _ in numbers]
    return [Trial(side=side, number=number) for number, pair in zip(numbers, pairs, strict=True) for side in pair]


def is_trial(line: str) -> bool:
    """Return whether a line is cvl-ci's own mark at the beginning of a trial, and not the job's text."""
    return _TRIAL.fullmatch(line) is not None
