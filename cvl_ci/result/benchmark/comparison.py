"""Compare each metric of a run with its baseline, and decide whether the verdict may fail anything. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cvl_ci.model.outcome import Ending, Measurements
from cvl_ci.model.paired_comparison import Change, PairedComparison
from cvl_ci.result import units
from cvl_ci.result.benchmark import noise
from cvl_ci.result.benchmark.baseline import Baseline
from cvl_ci.result.benchmark.direction import Direction
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.noise import Floor, Ruling, Verdict
from cvl_ci.result.benchmark.readings import Readings, finite
from cvl_ci.result.benchmark.rules import Rule, Rules
from cvl_ci.result.benchmark.sides import Side, names_of, side
from cvl_ci.result.benchmark.verdicts import direction_of, from_target, is_gated, judge

_FIRST = (Verdict.WORSE, Verdict.CHANGED)
ORDER = (*_FIRST, Verdict.UNSURE, Verdict.BETTER, Verdict.SAME, Verdict.NO_BASELINE)
"""The worst first; `unsure` comes before the good verdicts."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of one metric.

    `value` and `base`: medians, flags or labels. `lost`: the number is missing, although there was one or should be
    one. A metric that is not gated is never `worse` or `better`.
    """

    metric: str
    value: object
    base: object
    ruling: Ruling
    direction: Direction
    gated: bool
    lost: bool = False
    runs: int = 1

    @property
    def verdict(self) -> Verdict:
        return self.ruling.verdict


def compare(
    legs: Sequence[Leg], baseline: Baseline, *, rules: Rules, history: Sequence[Leg] = ()
) -> tuple[Comparison, ...]:
    """Compare every metric of either side.

    `legs`: all runs of one key, repeated. `history`: earlier runs of the same key, for the noise floor.
    """
    succeeded = [leg for leg in legs if leg.ending is Ending.SUCCEEDED]
    names = dict.fromkeys((*names_of(_measured(succeeded)), *names_of(_measured(baseline.legs)))) if succeeded else ()
    ordered = sorted(
        (leg for leg in history if leg.ending is Ending.SUCCEEDED),
        key=lambda leg: (leg.source.at, leg.machines.cluster),
    )
    return in_order([_compared(name, succeeded, baseline, rules.of(name), ordered) for name in names])


def in_order(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Sort comparisons: worse metrics first, then changed ones. A list that is cut to fit must not lose these."""
    return tuple(
        sorted(comparisons, key=lambda one: ORDER.index(one.verdict) if one.verdict in _FIRST else len(_FIRST))
    )


def compare_trials(head: Sequence[Readings], base: Sequence[Readings], *, rules: Rules) -> tuple[Change, ...]:
    """Compare the trials of two sides that ran on one machine and shared its luck.

    Every trial is a sample. The time of a trial is gated like any metric.
    """
    changes = []
    for name in dict.fromkeys((*names_of(head), *names_of(base))):
        now, before, rule = side(name, head), side(name, base), rules.of(name)
        direction = direction_of(rule, now.numbers, before.numbers)
        gated = direction is not Direction.UNKNOWN
        if not now.measured and not before.measured and not gated:
            continue  # a label
        ruling = judge(now, before, rule=rule, direction=direction, gated=gated)
        changes.append(_change(name, now, before, ruling, gated=gated))
    return tuple(changes)


def paired_comparisons(pairing: PairedComparison, *, rules: Rules) -> tuple[Comparison, ...]:
    """Return the verdicts of a comparison on one machine, which are more reliable than runs on other machines."""
    return tuple(_paired_comparison(one, rules.of(one.metric)) for one in pairing.changes)


def _paired_comparison(one: Change, rule: Rule) -> Comparison:
    gated = one.gated and rule.direction is not Direction.UNKNOWN
    verdict = Verdict(one.verdict)
    if not gated and verdict in {Verdict.WORSE, Verdict.BETTER}:
        verdict = Verdict.UNSURE
    return Comparison(
        metric=one.metric,
        value=one.head,
        base=one.base,
        ruling=Ruling(verdict=verdict, change=one.change, reason=one.why),
        direction=rule.direction,
        gated=gated,
        lost=one.head is None,
    )


def _change(name: str, now: Side, before: Side, ruling: Ruling, *, gated: bool) -> Change:
    head, base = (value if isinstance(value, float | bool) else None for value in (now.display, before.display))
    middle, base_middle = finite(head), finite(base)
    share = (middle - base_middle) / abs(base_middle) if middle is not None and base_middle else None
    why = ruling.reason or _interval(ruling)
    return Change(metric=name, head=head, base=base, change=share, verdict=ruling.verdict.value, why=why, gated=gated)


def _measured(legs: Sequence[Leg]) -> list[Measurements]:
    return [leg.measurements for leg in legs]


def _interval(ruling: Ruling) -> str:
    if ruling.low is None or ruling.high is None or ruling.low == ruling.high:
        return ""
    return f"between {units.change(ruling.low)} and {units.change(ruling.high)}"


def worse(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    return tuple(one for one in comparisons if one.gated and one.verdict is Verdict.WORSE)


def _compared(name: str, legs: Sequence[Leg], baseline: Baseline, rule: Rule, history: Sequence[Leg]) -> Comparison:
    floor = _floor(name, history, rule)
    every_sample = floor.pairs >= noise.PAIRS_THAT_KNOW
    head, base = (side(name, _measured(runs), every_sample=every_sample) for runs in (legs, baseline.legs))
    direction = direction_of(rule, head.numbers, base.numbers)
    gated = is_gated(name, rule, direction)
    ruling = judge(head, base, rule=rule, direction=direction, gated=gated, floor=floor)
    return Comparison(
        metric=name,
        value=head.display,
        base=base.display,
        ruling=ruling,
        direction=direction,
        gated=gated,
        lost=not head.is_there and (base.is_there or gated),
        runs=len(head.numbers),
    )


def _floor(name: str, history: Sequence[Leg], rule: Rule) -> Floor:
    """Return the noise floor between nights.

    Repetitions within one run of the workflow are one measurement, and their median counts.
    """
    nights: dict[tuple[str, str, int], list[float]] = {}
    for leg in history:
        values_of_leg = leg.measured(name)
        if values_of_leg:
            night = (leg.source.commit, leg.source.run_url, int(leg.source.at // 86_400))
            nights.setdefault(night, []).append(statistics.median(values_of_leg))
    runs = [(commit, statistics.median(values)) for (commit, _, _), values in nights.items()]
    if rule.target is not None:
        runs = [(commit, from_target([value], rule)[0]) for commit, value in runs]
    return noise.floor(runs)


def change_of(one: Comparison) -> float | None:
    """Return the change of the medians for a reader, as a share of the base, for any direction."""
    value, base = finite(one.value), finite(one.base)
    return None if value is None or not base else (value - base) / abs(base)
