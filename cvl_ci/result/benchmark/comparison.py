"""Each metric of a run against its baseline, with a verdict, and whether that verdict may fail anything. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cvl_ci.model.outcome import Beside, Change, Ending
from cvl_ci.result.benchmark import noise
from cvl_ci.result.benchmark.baseline import Baseline
from cvl_ci.result.benchmark.direction import Direction
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.noise import Floor, Judged, Verdict
from cvl_ci.result.benchmark.readings import Readings, finite
from cvl_ci.result.benchmark.rules import Rule, Rules
from cvl_ci.result.benchmark.sides import Side, names_of, side
from cvl_ci.result.benchmark.verdicts import direction_of, from_target, is_gated, judge

_FIRST = (Verdict.WORSE, Verdict.CHANGED)
ORDER = (*_FIRST, Verdict.UNSURE, Verdict.BETTER, Verdict.SAME, Verdict.NO_BASELINE)
"""The worst first; `unsure` comes before what is fine."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`value` and `base`: medians, flags or labels. `lost`: there is no number, where there was one or should be. Of
    what is not gated no verdict is `worse` or `better`."""

    metric: str
    value: object
    base: object
    judged: Judged
    direction: Direction
    gated: bool
    lost: bool = False
    runs: int = 1

    @property
    def verdict(self) -> Verdict:
        return self.judged.verdict


def compare(
    legs: Sequence[Leg], baseline: Baseline, *, rules: Rules, history: Sequence[Leg] = ()
) -> tuple[Comparison, ...]:
    """Compare every metric of either side. `legs`: all runs of one key, repeated. `history`: earlier runs of the same
    key, for the floor."""
    ended = [leg for leg in legs if leg.ending is Ending.SUCCEEDED]
    names = dict.fromkeys((*names_of(ended), *names_of(baseline.legs))) if ended else ()
    ordered = sorted((leg for leg in history if leg.ending is Ending.SUCCEEDED), key=lambda leg: (leg.at, leg.cluster))
    return in_order([_compared(name, ended, baseline, rules.of(name), ordered) for name in names])


def in_order(found: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Put what got worse first, and then what changed: a list that is cut to fit must not lose these."""
    return tuple(sorted(found, key=lambda one: ORDER.index(one.verdict) if one.verdict in _FIRST else len(_FIRST)))


def beside(head: Sequence[Readings], base: Sequence[Readings], *, rules: Rules) -> tuple[Change, ...]:
    """Compare the turns of two sides that ran on one machine and shared its luck: every turn is a sample, and how long
    it ran is gated like any metric."""
    found = []
    for name in dict.fromkeys((*names_of(head), *names_of(base))):
        now, before, rule = side(name, head), side(name, base), rules.of(name)
        direction = direction_of(rule, now.numbers, before.numbers)
        gated = direction is not Direction.UNKNOWN
        if not now.measured and not before.measured and not gated:
            continue  # a label
        judged = judge(now, before, rule=rule, direction=direction, gated=gated)
        found.append(_change(name, now, before, judged, gated=gated))
    return tuple(found)


def told_beside(told: Beside, *, rules: Rules) -> tuple[Comparison, ...]:
    """Return the verdicts of a comparison on one machine, which tells more than any run on another machine."""
    return tuple(_told_beside(one, rules.of(one.metric)) for one in told.changes)


def _told_beside(one: Change, rule: Rule) -> Comparison:
    gated = one.gated and rule.direction is not Direction.UNKNOWN
    verdict = Verdict(one.verdict)
    if not gated and verdict in {Verdict.WORSE, Verdict.BETTER}:
        verdict = Verdict.UNSURE
    return Comparison(
        metric=one.metric,
        value=one.head,
        base=one.base,
        judged=Judged(verdict=verdict, change=one.change, reason=one.why),
        direction=rule.direction,
        gated=gated,
        lost=one.head is None,
    )


def _change(name: str, now: Side, before: Side, judged: Judged, *, gated: bool) -> Change:
    head, base = (value if isinstance(value, float | bool) else None for value in (now.shown, before.shown))
    middle, base_middle = finite(head), finite(base)
    share = (middle - base_middle) / abs(base_middle) if middle is not None and base_middle else None
    why = judged.reason or _interval(judged)
    return Change(metric=name, head=head, base=base, change=share, verdict=judged.verdict.value, why=why, gated=gated)


def _interval(judged: Judged) -> str:
    if judged.low is None or judged.high is None or judged.low == judged.high:
        return ""
    return f"between {judged.low:+.1%} and {judged.high:+.1%}"


def worse(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    return tuple(one for one in comparisons if one.gated and one.verdict is Verdict.WORSE)


def _compared(name: str, legs: Sequence[Leg], baseline: Baseline, rule: Rule, history: Sequence[Leg]) -> Comparison:
    floor = _floor(name, history, rule)
    every = floor.pairs >= noise.PAIRS_THAT_KNOW
    head, base = (side(name, runs, every_sample=every) for runs in (legs, baseline.legs))
    direction = direction_of(rule, head.numbers, base.numbers)
    gated = is_gated(name, rule, direction)
    judged = judge(head, base, rule=rule, direction=direction, gated=gated, floor=floor)
    return Comparison(
        metric=name,
        value=head.shown,
        base=base.shown,
        judged=judged,
        direction=direction,
        gated=gated,
        lost=not head.is_there and (base.is_there or gated),
        runs=len(head.numbers),
    )


def _floor(name: str, history: Sequence[Leg], rule: Rule) -> Floor:
    """Between nights: what was repeated within one run of the workflow is one measurement, and its median counts."""
    nights: dict[tuple[str, str, int], list[float]] = {}
    for leg in history:
        found = leg.measured(name)
        if found:
            night = (leg.commit, leg.run_url, int(leg.at // 86_400))
            nights.setdefault(night, []).append(statistics.median(found))
    runs = [(commit, statistics.median(values)) for (commit, _, _), values in nights.items()]
    if rule.target is not None:
        runs = [(commit, from_target([value], rule)[0]) for commit, value in runs]
    return noise.floor(runs)


def change_of(one: Comparison) -> float | None:
    """For a reader: of the medians themselves, whatever the direction."""
    value, base = finite(one.value), finite(one.base)
    return None if value is None or not base else (value - base) / abs(base)
