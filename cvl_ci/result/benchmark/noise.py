"""Is a difference more than noise? Medians, a bootstrap interval of their change, and what the same code differs by.

The bootstrap of a median needs no dice: how often each of the samples is the median of a resample has a closed form
(a binomial tail), which is what infinitely many resamples would give. So the same samples always give the same verdict.
Strict on purpose: `worse` means that even the kind end of a 99 % interval lies beyond tolerance and floor. Pure.
"""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

CONFIDENCE = 0.99
MOST_SAMPLES = 101
"""More are thinned to as many ranks, evenly: that only makes the interval wider."""

FLOOR_PAIRS = 3
"""So many pairs of runs of the same code say how much it differs from itself."""

PAIRS_THAT_KNOW = 5
"""So many, and machines that come in two kinds have shown both, but once in thirty times."""


ALIKE = 4
"""So many samples on each side, equal in every digit: such a metric has no noise, and only its medians count.
A metric that is in one of two states by chance looks like this, with another state on each side, once in 128 times."""


class Verdict(enum.Enum):
    """A word on one metric. `CHANGED`: it certainly differs, which way is better is not known, and it is not gated."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    CHANGED = "changed"
    UNSURE = "unsure"
    NO_BASELINE = "no baseline"


@dataclass(frozen=True, kw_only=True)
class Floor:
    """How far two runs of the same code were apart, as a share. `exact`: never, in any digit."""

    share: float = 0.0
    pairs: int = 0

    @property
    def exact(self) -> bool:
        return self.pairs >= FLOOR_PAIRS and self.share == 0


@dataclass(frozen=True, kw_only=True)
class Judged:
    """`change`: of the medians, as a share of the base, above 0 is more. `low` and `high`: its interval. `sudden`: a
    number is gone, a yes became a no, or a metric left 0 or fell to 0."""

    verdict: Verdict
    change: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    sudden: bool = False


def judge(
    head: Sequence[float], base: Sequence[float], *, lower_is_better: bool, tolerance: float, floor: Floor | None = None
) -> Judged:
    """Samples of one metric, now and before."""
    if not head or not base:
        return Judged(verdict=Verdict.NO_BASELINE, reason="the base has no such metric" if head else "it is gone")
    floor = _repeats(head, base, floor or Floor())
    if min(base) <= 0 <= max(base):
        return _from_zero(head, base, lower_is_better=lower_is_better, tolerance=tolerance, floor=floor)
    middle = statistics.median(base)
    change = (statistics.median(head) - middle) / abs(middle)
    margin = max(tolerance, floor.share)
    low, high = (change, change) if floor.exact else interval(head, base)
    if not floor.exact and not enough(len(head), len(base)):
        return Judged(verdict=Verdict.UNSURE, change=change, low=low, high=high, reason=_too_few(head, base))
    verdict = _verdict(low, high, margin, lower_is_better)
    fell = {*head} == {0}
    reason = f"between {low:+.1%} and {high:+.1%}" if verdict is Verdict.UNSURE else "it is always 0" if fell else ""
    return Judged(verdict=verdict, change=change, low=low, high=high, reason=reason, sudden=fell)


def _from_zero(
    head: Sequence[float], base: Sequence[float], *, lower_is_better: bool, tolerance: float, floor: Floor
) -> Judged:
    """Judge by a share of the largest value in the base, for 0 has no share. If that is 0 too, any move counts."""
    if sorted(head) == sorted(base) or len({*head, *base}) == 1:
        return Judged(verdict=Verdict.SAME)
    largest = max(map(abs, base))
    reason = "the base touches 0" if largest else "the base is always 0"
    margin = max(tolerance, floor.share) if largest else 0.0
    unit = largest or 1.0
    moved = (statistics.median(head) - statistics.median(base)) / unit
    low, high = (moved, moved) if floor.exact else interval(head, base, unit=unit)
    if not floor.exact and not enough(len(head), len(base)):
        return Judged(verdict=Verdict.UNSURE, reason=_too_few(head, base))
    return Judged(verdict=_verdict(low, high, margin, lower_is_better), reason=reason, sudden=not largest)


def _repeats(head: Sequence[float], base: Sequence[float], known: Floor) -> Floor:
    """Return a floor of 0 where both sides repeat in every digit, unless other runs tell more of the noise."""
    if known.pairs or known.share or min(len(head), len(base)) < ALIKE or len({*head}) > 1 or len({*base}) > 1:
        return known
    return Floor(share=0.0, pairs=len(head) + len(base) - 2)


def _too_few(head: Sequence[float], base: Sequence[float]) -> str:
    return f"{len(head)} against {len(base)} samples cannot tell: repeat it"


def enough(head: int, base: int) -> bool:
    """Could they tell at all? If nothing changed, all of one lie above all of the other this rarely by mere luck."""
    return math.comb(head + base, head) >= round(1 / (1 - CONFIDENCE))


def interval(
    head: Sequence[float], base: Sequence[float], *, confidence: float = CONFIDENCE, unit: float | None = None
) -> tuple[float, float]:
    """Bootstrap percentile interval of the change of medians; of an even number of samples the wider reading.

    `unit`: what a change is measured by; the base's own value where none is given.
    """
    head, base = _thinned(head), _thinned(base)
    tail = (1 - confidence) / 2
    low = _quantile(_changes(head, base, (_lower(len(head)), _upper(len(base))), unit), tail)
    high = _quantile(_changes(head, base, (_upper(len(head)), _lower(len(base))), unit), 1 - tail)
    return low, high


def floor(runs: Iterable[tuple[str, float]]) -> Floor:
    """`runs`: code and median, in order of time. Runs of the same code are told apart by noise alone; where there are
    too few of these, neighbours are taken, and three times their middle, so that one real change among them is none.
    Of a share there is none of 0, unless it never was anything else."""
    known = list(runs)
    listed = [(code, value) for code, value in known if value != 0] or known
    steps = [(one[0] == other[0], _apart(one[1], other[1])) for one, other in pairwise(listed)]
    same_code = [apart for same, apart in steps if same]
    if len(same_code) >= FLOOR_PAIRS:
        return Floor(share=max(same_code), pairs=len(same_code))
    if len(steps) < FLOOR_PAIRS:
        return Floor()
    # Never exact: neighbours that agree may be code that nobody touched, and say nothing of the next.
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
    """Every change that a resample can show, and how likely it is."""
    head_rank, base_rank = ranks
    return [
        ((now - then) / (unit or abs(then)), mine * theirs)
        for now, mine in zip(head, _weights(len(head), head_rank), strict=True)
        for then, theirs in zip(base, _weights(len(base), base_rank), strict=True)
    ]


def _quantile(weighted: list[tuple[float, float]], share: float) -> float:
    passed = 0.0
    weighted.sort()
    for value, weight in weighted:
        passed += weight
        if passed >= share:
            return value
    return weighted[-1][0]


@lru_cache(maxsize=4096)
def _weights(count: int, rank: int) -> tuple[float, ...]:
    """How likely each of the ordered samples is to be of this rank in a resample of as many."""
    below = [_at_least(rank, count, share=k / count) for k in range(count + 1)]
    return tuple(after - before for before, after in pairwise(below))


def _at_least(least: int, count: int, *, share: float) -> float:
    return math.fsum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(least, count + 1))
