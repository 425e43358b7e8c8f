"""Judge one metric of two sides: first whether both sides measured it, then its numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvl_ci.result.benchmark import noise
from cvl_ci.result.benchmark.direction import Direction, good
from cvl_ci.result.benchmark.noise import Floor, Ruling, Verdict
from cvl_ci.result.benchmark.rules import Rule
from cvl_ci.result.benchmark.sides import Side

MEASURED_ALWAYS = ("time.", "cost_usd", "gpu.")
"""Every run measures these: they have a trend, and only cvl-ci.yml gates them."""

UNKNOWN = "which way is better is not known"


def direction_of(rule: Rule, head: Sequence[float], base: Sequence[float]) -> Direction:
    """Return which way is better.

    A name alone says little about a signed metric, such as an error of -0.03. But where more is better, a fall below 0
    is a fall.
    """
    if not rule.by_name or min((*base, 0.0)) == min((*head, 0.0)) == 0:
        return rule.direction
    fell = rule.direction is Direction.HIGHER and min((*base, 0.0)) == 0
    return rule.direction if fell else Direction.UNKNOWN


def is_gated(name: str, rule: Rule, direction: Direction) -> bool:
    return direction is not Direction.UNKNOWN and not (rule.by_name and name.startswith(MEASURED_ALWAYS))


def judge(
    head: Side, base: Side, *, rule: Rule, direction: Direction, gated: bool, floor: Floor | None = None
) -> Ruling:
    """Return the verdict. A metric that is not gated is never `worse` or `better`.

    A gated metric without a number on either side is `unsure`.
    """
    ruling = _lost(head, base) or _compared(head, base, rule, direction, floor or Floor())
    if gated and ruling.verdict is Verdict.NO_BASELINE and not head.is_there:
        return replace(ruling, verdict=Verdict.UNSURE)
    if gated or ruling.verdict not in {Verdict.WORSE, Verdict.BETTER}:
        return ruling
    if direction is not Direction.UNKNOWN:
        return _unsure(ruling, "measured of every run: a rule would gate it")
    if rule.by_name and rule.direction is not Direction.UNKNOWN and min((*base.numbers, 0.0)) == 0:
        return replace(ruling, verdict=Verdict.CHANGED, reason=f"it fell below 0; {UNKNOWN}")
    if rule.by_name and ruling.sudden:
        return replace(ruling, verdict=Verdict.CHANGED, reason=f"{ruling.reason}; {UNKNOWN}")
    return _unsure(ruling, UNKNOWN)


def from_target(values: Sequence[float], rule: Rule) -> list[float]:
    """Return the distance of each value from the target, as a length whose share is a share of the target.

    Less is better.
    """
    target = rule.target or 0.0
    return [(abs(target) or 1.0) + abs(value - target) for value in values]


def _unsure(ruling: Ruling, why: str) -> Ruling:
    return replace(ruling, verdict=Verdict.UNSURE, reason=f"{ruling.reason}; {why}" if ruling.sudden else why)


def _lost(head: Side, base: Side) -> Ruling | None:
    """Judge a metric that at least one side lacks. None: both sides measured it."""
    if head.is_there and base.is_there:
        return None
    if not base.runs:  # the baseline says why
        return Ruling(verdict=Verdict.NO_BASELINE, reason="" if head.is_there or head.labels else "it is not a number")
    if base.is_there:
        if head.crowded and not head.is_named:
            reason = "it may be among the metrics of this run that were too many to keep"
            return Ruling(verdict=Verdict.UNSURE, reason=reason)
        return Ruling(verdict=Verdict.WORSE, reason=_how_lost(head), sudden=True)
    if head.is_there:
        reason = f"the base has no such {'number' if base.is_named else 'metric'}"
        return Ruling(verdict=Verdict.NO_BASELINE, reason=reason)
    if head.measured or base.measured:
        reason = f"measured by {head.measured} of {head.runs} runs, and {base.measured} of {base.runs} of the base"
        return Ruling(verdict=Verdict.UNSURE, reason=reason)
    if not head.is_named:
        return Ruling(verdict=Verdict.NO_BASELINE, reason="it is gone, and was not a number")
    return Ruling(verdict=Verdict.NO_BASELINE, reason="" if base.labels and head.labels else "it is not a number")


def _how_lost(head: Side) -> str:
    if head.measured:
        return f"{head.runs - head.measured} of {head.runs} runs gave no number"
    if not head.is_named:
        return "it is gone"
    return "it is not a number any more"


def _compared(head: Side, base: Side, rule: Rule, direction: Direction, floor: Floor) -> Ruling:
    ruling = _flags(head, base, direction) if not head.numbers and not base.numbers else None
    if ruling is None:
        now, before = head.as_numbers, base.as_numbers
        if direction is Direction.TARGET:
            now, before = tuple(from_target(now, rule)), tuple(from_target(before, rule))
        lower = direction is not Direction.HIGHER
        ruling = noise.judge(now, before, lower_is_better=lower, tolerance=rule.tolerance, floor=floor)
    if ruling.verdict is Verdict.WORSE or head.missing_share <= base.missing_share:
        return ruling
    missing = head.runs - head.measured + head.partly
    return replace(ruling, verdict=Verdict.UNSURE, reason=f"{missing} of {head.runs} runs gave no number")


def _flags(head: Side, base: Side, direction: Direction) -> Ruling:
    """Judge yes and no. If the base always says yes, one run is enough: noise does not turn a yes into a no."""
    now, before = ([good(flag, direction) for flag in one.flags] for one in (head, base))
    if {*head.flags} == {*base.flags} and len({*now}) == 1:
        return Ruling(verdict=Verdict.SAME)
    words = f"{str(base.flags[0]).lower()} became {str(not base.flags[0]).lower()}"
    if all(before) and sum(now) * 2 <= len(now):
        return Ruling(verdict=Verdict.WORSE, reason=_of(now, words), sudden=True)
    if not any(before) and all(now):
        return Ruling(verdict=Verdict.BETTER, reason=words, sudden=True)
    turned = f"{sum(head.flags)} of {len(head.flags)} are true, and {sum(base.flags)} of {len(base.flags)} of the base"
    return Ruling(verdict=Verdict.UNSURE, reason=turned)


def _of(now: Sequence[bool], words: str) -> str:
    bad = len(now) - sum(now)
    return words if bad == len(now) else f"{words} in {bad} of {len(now)} runs"
