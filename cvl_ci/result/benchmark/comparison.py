"""Each metric of a run against its baseline, with a verdict, and whether that verdict may fail anything. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cvl_ci.result.benchmark import noise
from cvl_ci.result.benchmark.baseline import Baseline
from cvl_ci.result.benchmark.direction import Direction
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.noise import Floor, Judged, Verdict
from cvl_ci.result.benchmark.readings import Readings, finite
from cvl_ci.result.benchmark.rules import Rule, Rules
from cvl_ci.result.outcome import Beside, Change, Ending

MEASURED_ALWAYS = ("time.", "cost_usd", "gpu.")
"""What every run measures: a trend, and gated only where cvl-ci.yml says how."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`value` and `base`: medians, or a label. Of what is not gated no verdict is `worse` or `better`."""

    metric: str
    value: object
    base: float | None
    judged: Judged
    direction: Direction
    gated: bool
    runs: int = 1

    @property
    def verdict(self) -> Verdict:
        return self.judged.verdict


def compare(
    legs: Sequence[Leg], baseline: Baseline, *, rules: Rules, history: Sequence[Leg] = ()
) -> tuple[Comparison, ...]:
    """`legs`: all runs of one key, repeated. `history`: earlier runs of the same key, for the floor."""
    ended = [leg for leg in legs if leg.ending is Ending.SUCCEEDED]
    names = dict.fromkeys(name for leg in ended for name in leg.metrics)
    ordered = sorted((leg for leg in history if leg.ending is Ending.SUCCEEDED), key=lambda leg: (leg.at, leg.cluster))
    return tuple(_compared(name, ended, baseline, rules.of(name), ordered) for name in names)


def beside(head: Readings, base: Readings, *, rules: Rules) -> tuple[Change, ...]:
    """Of two that ran in turn on one machine, whose luck they shared: so every sample counts, and how long they ran is
    gated like any metric."""
    found = []
    for name in dict.fromkeys((*head.samples, *head.metrics)):
        now, before = _all_of(name, head), _all_of(name, base)
        if not now or not before:
            continue
        rule = rules.of(name)
        direction = _direction(rule, [*now, *before])
        gated = direction is not Direction.UNKNOWN
        judged = _judged(now, before, rule, direction, Floor(), gated=gated)
        middle, base_middle = statistics.median(now), statistics.median(before)
        found.append(
            Change(
                metric=name,
                head=middle,
                base=base_middle,
                change=(middle - base_middle) / abs(base_middle) if base_middle else None,
                verdict=judged.verdict.value,
                why=judged.reason or _interval(judged),
            )
        )
    return tuple(found)


def told_beside(told: Beside, *, rules: Rules) -> tuple[Comparison, ...]:
    """The verdicts of two that ran in turn on one machine, which no run on another can better."""
    return tuple(
        Comparison(
            metric=one.metric,
            value=one.head,
            base=one.base,
            judged=Judged(verdict=Verdict(one.verdict), change=one.change, reason=one.why),
            direction=rules.of(one.metric).direction,
            gated=rules.of(one.metric).direction is not Direction.UNKNOWN,
        )
        for one in told.changes
    )


def _all_of(name: str, readings: Readings) -> tuple[float, ...]:
    one = finite(readings.metrics.get(name))
    return readings.samples.get(name) or (() if one is None else (one,))


def _interval(judged: Judged) -> str:
    if judged.low is None or judged.high is None or judged.low == judged.high:
        return ""
    return f"between {judged.low:+.1%} and {judged.high:+.1%}"


def worse(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    return tuple(one for one in comparisons if one.gated and one.verdict is Verdict.WORSE)


def _compared(name: str, legs: Sequence[Leg], baseline: Baseline, rule: Rule, history: Sequence[Leg]) -> Comparison:
    floor = _floor(name, history, rule)
    head, base = _values(name, legs, floor), _values(name, baseline.legs, floor)
    direction = _direction(rule, [*head, *base])
    gated = direction is not Direction.UNKNOWN and not (rule.by_name and name.startswith(MEASURED_ALWAYS))
    if not head or not baseline.legs:  # a label, or nothing to compare with, which the baseline says why
        judged = Judged(verdict=Verdict.NO_BASELINE)
    else:
        judged = _judged(head, base, rule, direction, floor, gated=gated)
    return Comparison(
        metric=name,
        value=statistics.median(head) if head else _label(name, legs),
        base=statistics.median(base) if base else None,
        judged=judged,
        direction=direction,
        gated=gated,
        runs=len(head),
    )


def _judged(
    head: Sequence[float], base: Sequence[float], rule: Rule, direction: Direction, floor: Floor, *, gated: bool
) -> Judged:
    if direction is Direction.TARGET:
        head, base = _from_target(head, rule), _from_target(base, rule)
    lower = direction is not Direction.HIGHER
    found = noise.judge(head, base, lower_is_better=lower, tolerance=rule.tolerance, floor=floor)
    if not gated and found.verdict in {Verdict.WORSE, Verdict.BETTER}:
        unknown = direction is Direction.UNKNOWN
        reason = "which way is better is not known" if unknown else "measured of every run: a rule would gate it"
        return replace(found, verdict=Verdict.UNSURE, reason=reason)
    return found


def _values(name: str, legs: Sequence[Leg], floor: Floor) -> list[float]:
    """All samples of a machine share its luck: two machines of 100 samples each are two measurements, not 200, until
    it is known how far machines are apart."""
    found = [measured for leg in legs if (measured := leg.measured(name))]
    if floor.pairs >= noise.PAIRS_THAT_KNOW:
        return [value for measured in found for value in measured]
    return [statistics.median(measured) for measured in found]


def _direction(rule: Rule, values: Sequence[float]) -> Direction:
    """A name alone says little of what is signed (an error of -0.03)."""
    return Direction.UNKNOWN if rule.by_name and any(value < 0 for value in values) else rule.direction


def _from_target(values: Sequence[float], rule: Rule) -> list[float]:
    """How far off, as a length that less of is better, whose share is one of the target."""
    target = rule.target or 0.0
    return [(abs(target) or 1.0) + abs(value - target) for value in values]


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
        runs = [(commit, _from_target([value], rule)[0]) for commit, value in runs]
    return noise.floor(runs)


def _label(name: str, legs: Sequence[Leg]) -> object:
    values = list(dict.fromkeys(str(leg.metrics[name]) for leg in legs if leg.metrics.get(name) is not None))
    return ", ".join(values[:3]) if values else None


def change_of(one: Comparison) -> float | None:
    """For a reader: of the medians themselves, whatever the direction."""
    value, base = finite(one.value), one.base
    return None if value is None or not base else (value - base) / abs(base)
