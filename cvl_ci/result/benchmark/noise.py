"""Decide whether a difference is more than noise, by medians, a bootstrap interval, and the noise of the same code.

The bootstrap of a median needs no random numbers. How often each sample is the median of a resample has a closed form
(a binomial tail). Infinitely many resamples would give the same result. So the same samples always give the same
verdict. The rule is strict: `worse` means that the whole 99 % interval lies beyond tolerance and floor. Pure.
"""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from cvl_ci.result import units

CONFIDENCE = 0.99
MOST_SAMPLES = 101
"""More samples are thinned evenly to this many ranks, which only makes the interval wider."""

FLOOR_PAIRS = 3
"""This many pairs of runs of the same code measure how much it differs from itself."""

PAIRS_THAT_KNOW = 5
"""With this many pairs, machines of two kinds have both appeared, except once in thirty times."""


ALIKE = 4
"""With this many samples on each side, all equal in every digit, a metric has no noise: only its medians count.

A metric that is in one of two states by chance can look like this. It then has another state on each side once in 128
times.
"""


class Verdict(enum.Enum):
    """Verdict on one metric. `CHANGED`: it certainly differs, its better direction is unknown, and it is not gated."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    CHANGED = "changed"
    UNSURE = "unsure"
    NO_BASELINE = "no baseline"


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Distance of two runs of the same code, as a share. `exact`: no digit ever differed."""

    share: float = 0.0
    pairs: int = 0

    @property
    def exact(self) -> bool:
        return self.pairs >= FLOOR_PAIRS and self.share == 0


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """Verdict with its numbers.

    `change`: of the medians, as a share of the base; above 0 is more. `low` and `high`: its interval. `sudden`: a
    number is gone, a yes became a no, or a metric left 0 or fell to 0.
    """

    verdict: Verdict
    change: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    sudden: bool = False


def judge(
    head: Sequence[float], base: Sequence[float], *, lower_is_better: bool, tolerance: float, floor: Floor | None = None
) -> Ruling:
    """Judge the samples of one metric, now (`head`) and before (`base`)."""
    if not head or not base:
        return Ruling(verdict=Verdict.NO_BASELINE, reason="the base has no such metric" if head else "it is gone")
    floor = _repeats(head, base, floor or Floor())
    if min(base) <= 0 <= max(base):
        return _from_zero(head, base, lower_is_better=lower_is_better, tolerance=tolerance, floor=floor)
    middle = statistics.median(base)
    change = (statistics.median(head) - middle) / abs(middle)
    margin = max(tolerance, floor.share)
    low, high = (change, change) if floor.exact else interval(head, base)
    if not floor.exact and not enough(len(head), len(base)):
        return Ruling(verdict=Verdict.UNSURE, change=change, low=low, high=high, reason=_too_few(head, base))
    verdict = _verdict(low, high, margin, lower_is_better)
    fell = {*head} == {0}
    between = f"between {units.change(low)} and {units.change(high)}"
    reason = between if verdict is Verdict.UNSURE else "it is always 0" if fell else ""
    return Ruling(verdict=verdict, change=change, low=low, high=high, reason=reason, sudden=fell)


def _from_zero(
    head: Sequence[float], base: Sequence[float], *, lower_is_better: bool, tolerance: float, floor: Floor
) -> Ruling:
    """Judge by a share of the largest value in the base, because 0 has no share. If that is 0 too, any move counts."""
    if sorted(head) == sorted(base) or len({*head, *base}) == 1:
        return Ruling(verdict=Verdict.SAME)
    largest = max(map(abs, base))
    reason = "the base touches 0" if largest else "the base is always 0"
    margin = max(tolerance, floor.share) if largest else 0.0
    unit = largest or 1.0
    moved = (statistics.median(head) - statistics.median(base)) / unit
    low, high = (moved, moved) if floor.exact else interval(head, base, unit=unit)
    if not floor.exact and not enough(len(head), len(base)):
        return Ruling(verdict=Verdict.UNSURE, reason=_too_few(head, base))
    return Ruling(verdict=_verdict(low, high, margin, lower_is_better), reason=reason, sudden=not largest)


def _repeats(head: Sequence[float], base: Sequence[float], other_runs: Floor) -> Floor:
    """Return a floor of 0 where both sides repeat in every digit, unless other runs measure the noise better."""
    if (
        other_runs.pairs
        or other_runs.share
        or min(len(head), len(base)) < ALIKE
        or len({*head}) > 1
        or len({*base}) > 1
    ):
        return other_runs
    return Floor(share=0.0, pairs=len(head) + len(base) - 2)


def _too_few(head: Sequence[float], base: Sequence[float]) -> str:
    return f"{len(head)} against {len(base)} samples cannot tell: repeat it"


def enough(head: int, base: int) -> bool:
    """Return whether so many samples can decide at all.

    If nothing changed, all samples of one side lie above all of the other this rarely by chance.
    """
    return math.comb(head + base, head) >= round(1 / (1 - CONFIDENCE))


def interval(
    head: Sequence[float], base: Sequence[float], *, confidence: float = CONFIDENCE, unit: float | None = None
) -> tuple[float, float]:
    """Return the bootstrap percentile interval of the change of medians.

    For an even number of samples it uses the wider reading. `unit`: the unit of the change; without it, the base's own
    value.
    """
    head, base = _thinned(head), _thinned(base)
    tail = (1 - confidence) / 2
    low = _quantile(_changes(head, base, (_lower(len(head)), _upper(len(base))), unit), tail)
    high = _quantile(_changes(head, base, (_upper(len(head)), _lower(len(base))), unit), 1 - tail)
    return low, high


def floor(runs: Iterable[tuple[str, float]]) -> Floor:
    """Return the noise floor. `runs`: code and median, in order of time.

    Only noise separates runs of the same code. If there are too few such runs, use neighbours and three times their
    median distance, so that one real change among them does not count. A share of 0 does not exist, so runs with 0 are
    skipped, unless all are 0.
    """
    all_runs = list(runs)
    nonzero = [(code, value) for code, value in all_runs if value != 0] or all_runs
    steps = [(one[0] == other[0], _apart(one[1], other[1])) for one, other in pairwise(nonzero)]
    same_code = [apart for same, apart in steps if same]
    if len(same_code) >= FLOOR_PAIRS:
        return Floor(share=max(same_code), pairs=len(same_code))
    if len(steps) < FLOOR_PAIRS:
        return Floor()
    # Never exact: neighbours that agree may be unchanged code, and predict nothing about the next run.
    return Floor(share=3 * statistics.median(apart for _, apart in steps), pairs=0)


def _verdict(low: float, high: float, margin: float, lower_is_better: bool) -> Verdict:
    if low > margin:
        return Verdict.WORSE if lower_is_better else Verdict.BETTER
    if high < -margin:
        return Verdict.BETTER if lower_is_better else Verdict.WORSE
    return Verdict.SAME if -margin <= low and high <= margin else Verdict.UNSURE


def _apart(one: float, other: float) -> float:
    return abs(one - other) / min(abs(one), abs(other)) if one != other else 0.0


def _lower(count: int) -> int:
    return (count + 1) // 2


def _upper(count: int) -> int:
    return count // 2 + 1


def _thinned(samples: Sequence[float]) -> list[float]:
    ordered = sorted(samples)
    if len(ordered) <= MOST_SAMPLES:
        return ordered
    step = (len(ordered) - 1) / (MOST_SAMPLES - 1)
    return [ordered[round(at * step)] for at in range(MOST_SAMPLES)]


def _changes(
    head: Sequence[float], base: Sequence[float], ranks: tuple[int, int], unit: float | None
) -> list[tuple[float, float]]:
    """Return every change that a resample can show, and its probability."""
    head_rank, base_rank = ranks
    return [
        ((now - then) / (unit or abs(then)), weight * base_weight)
        for now, weight in zip(head, _weights(len(head), head_rank), strict=True)
        for then, base_weight in zip(base, _weights(len(base), base_rank), strict=True)
    ]


def _quantile(weighted: list[tuple[float, float]], share: float) -> float:
    total = 0.0
    weighted.sort()
    for value, weight in weighted:
        total += weight
        if total >= share:
            return value
    return weighted[-1][0]


@lru_cache(maxsize=4096)
def _weights(count: int, rank: int) -> tuple[float, ...]:
    """Return the probability of each ordered sample to have this rank in a resample of the same size."""
    below = [_at_least(rank, count, share=k / count) for k in range(count + 1)]
    return tuple(after - before for before, after in pairwise(below))


def _at_least(least: int, count: int, *, share: float) -> float:
    return math.fsum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(least, count + 1))
