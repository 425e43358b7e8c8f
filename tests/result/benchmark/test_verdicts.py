"""The verdict on one metric of two sides, as tables: each way to lose it, its flags, its direction and its gate."""

from __future__ import annotations

import pytest

from cvl_ci.result.benchmark.direction import Direction
from cvl_ci.result.benchmark.noise import Floor, Verdict
from cvl_ci.result.benchmark.rules import Rule
from cvl_ci.result.benchmark.sides import Side
from cvl_ci.result.benchmark.verdicts import UNKNOWN, direction_of, from_target, is_gated, judge

HIGHER, LOWER, TARGET, NO_DIRECTION = Direction.HIGHER, Direction.LOWER, Direction.TARGET, Direction.UNKNOWN
WORSE, BETTER, SAME, UNSURE = Verdict.WORSE, Verdict.BETTER, Verdict.SAME, Verdict.UNSURE
CHANGED, NO_BASELINE = Verdict.CHANGED, Verdict.NO_BASELINE
NONE = Side(runs=0)
NOT_A_NUMBER = "it is not a number"


def numbers(*values: float, runs: int = 0, partly: int = 0) -> Side:
    return Side(runs=runs or len(values), measured=len(values), numbers=values, is_named=True, partly=partly)


def flags(*values: bool) -> Side:
    return Side(runs=len(values), measured=len(values), flags=values, is_named=True)


def empty(runs: int = 5, *, named: bool = False, labels: tuple[str, ...] = (), crowded: bool = False) -> Side:
    return Side(runs=runs, labels=labels, is_named=named, crowded=crowded)


FIVE = numbers(1.0, 1.0, 1.0, 1.0, 1.0)
TEN_TIMES = numbers(10.0, 10.0, 10.0, 10.0, 10.0)
ZERO = numbers(0.0, 0.0, 0.0, 0.0, 0.0)
MINUS = numbers(-1.0, -1.0, -1.0, -1.0, -1.0)


@pytest.mark.parametrize(
    ("rule", "head", "base", "expected"),
    [
        pytest.param(Rule(direction=LOWER), (-1.0,), (-2.0,), LOWER, id="a rule counts for negative numbers"),
        pytest.param(Rule(direction=LOWER, by_name=True), (1.0,), (2.0,), LOWER, id="a name"),
        pytest.param(Rule(direction=LOWER, by_name=True), (), (), LOWER, id="a name without a number"),
        pytest.param(Rule(direction=LOWER, by_name=True), (-1.0,), (2.0,), NO_DIRECTION, id="an error below 0"),
        pytest.param(Rule(direction=LOWER, by_name=True), (1.0,), (-2.0,), NO_DIRECTION, id="a base below 0"),
        pytest.param(Rule(direction=HIGHER, by_name=True), (-1.0,), (2.0,), HIGHER, id="a fall below 0"),
        pytest.param(Rule(direction=HIGHER, by_name=True), (-1.0,), (-2.0,), NO_DIRECTION, id="both below 0"),
    ],
)
def test_direction(rule: Rule, head: tuple[float, ...], base: tuple[float, ...], expected: Direction) -> None:
    assert direction_of(rule, head, base) is expected


@pytest.mark.parametrize(
    ("name", "rule", "direction", "expected"),
    [
        pytest.param("loss", Rule(direction=LOWER, by_name=True), LOWER, True, id="a known name"),
        pytest.param("loss", Rule(direction=LOWER, by_name=True), NO_DIRECTION, False, id="no direction"),
        pytest.param("loss", Rule(direction=NO_DIRECTION), NO_DIRECTION, False, id="a rule that ignores it"),
        pytest.param("time.running", Rule(direction=LOWER, by_name=True), LOWER, False, id="a time by its name"),
        pytest.param("cost_usd", Rule(direction=LOWER, by_name=True), LOWER, False, id="a cost by its name"),
        pytest.param("gpu.memory_mib", Rule(direction=LOWER, by_name=True), LOWER, False, id="a GPU by its name"),
        pytest.param("time.running", Rule(direction=LOWER), LOWER, True, id="a time with a rule"),
    ],
)
def test_gate(name: str, rule: Rule, direction: Direction, expected: bool) -> None:
    assert is_gated(name, rule, direction) is expected


@pytest.mark.parametrize(
    ("target", "values", "expected"),
    [
        pytest.param(37.0, (37.0, 38.0, 35.0), [37.0, 38.0, 39.0], id="both sides of it"),
        pytest.param(-2.0, (-2.0, 0.0), [2.0, 4.0], id="a negative target"),
        pytest.param(0.0, (0.0, 0.5, -0.5), [1.0, 1.5, 1.5], id="0 has no share"),
        pytest.param(None, (2.0,), [3.0], id="no target"),
    ],
)
def test_distance_from_a_target(target: float | None, values: tuple[float, ...], expected: list[float]) -> None:
    assert from_target(values, Rule(direction=TARGET, target=target)) == expected


@pytest.mark.parametrize(
    ("head", "base", "verdict", "reason"),
    [
        pytest.param(FIVE, NONE, NO_BASELINE, "", id="no runs of the base"),
        pytest.param(empty(named=True), NONE, UNSURE, NOT_A_NUMBER, id="no number, and no base"),
        pytest.param(empty(named=True, labels=("a",)), NONE, UNSURE, "", id="a label, and no base"),
        pytest.param(empty(), FIVE, WORSE, "it is gone", id="gone"),
        pytest.param(empty(named=True), FIVE, WORSE, "it is not a number any more", id="no number any more"),
        pytest.param(numbers(1.0, 1.0, runs=5), FIVE, WORSE, "3 of 5 runs gave no number", id="most are gone"),
        pytest.param(
            empty(crowded=True),
            FIVE,
            UNSURE,
            "it may be among the metrics of this run that were too many to keep",
            id="too many metrics",
        ),
        pytest.param(
            empty(crowded=True, named=True), FIVE, WORSE, "it is not a number any more", id="too many, and named"
        ),
        pytest.param(FIVE, empty(), NO_BASELINE, "the base has no such metric", id="new"),
        pytest.param(FIVE, empty(named=True), NO_BASELINE, "the base has no such number", id="a label before"),
        pytest.param(
            numbers(1.0, runs=5),
            numbers(1.0, 1.0, runs=5),
            UNSURE,
            "measured by 1 of 5 runs, and 2 of 5 of the base",
            id="rare on both sides",
        ),
        pytest.param(
            numbers(1.0, runs=5), empty(), UNSURE, "measured by 1 of 5 runs, and 0 of 5 of the base", id="rare and new"
        ),
        pytest.param(empty(), empty(named=True), UNSURE, "it is gone, and was not a number", id="a label that is gone"),
        pytest.param(empty(named=True), empty(named=True), UNSURE, NOT_A_NUMBER, id="no number on both sides"),
        pytest.param(
            empty(named=True, labels=("a",)), empty(named=True, labels=("b",)), UNSURE, "", id="a label on both sides"
        ),
        pytest.param(empty(named=True, labels=("a",)), empty(named=True), UNSURE, NOT_A_NUMBER, id="a label now"),
    ],
)
def test_a_missing_number(head: Side, base: Side, verdict: Verdict, reason: str) -> None:
    ruling = judge(head, base, rule=Rule(direction=LOWER), direction=LOWER, gated=True)
    assert (ruling.verdict, ruling.reason, ruling.sudden) == (verdict, reason, verdict is WORSE)


@pytest.mark.parametrize(
    ("head", "base", "verdict"),
    [
        pytest.param(empty(named=True), NONE, NO_BASELINE, id="no base"),
        pytest.param(empty(), empty(named=True), NO_BASELINE, id="gone on both sides"),
    ],
)
def test_without_a_gate_no_number_is_no_baseline(head: Side, base: Side, verdict: Verdict) -> None:
    assert judge(head, base, rule=Rule(direction=LOWER), direction=LOWER, gated=False).verdict is verdict


@pytest.mark.parametrize(
    ("head", "base", "verdict", "reason"),
    [
        pytest.param(flags(True), flags(True), SAME, "", id="yes and yes"),
        pytest.param(flags(False), flags(False), SAME, "", id="no and no"),
        pytest.param(flags(False), flags(True), WORSE, "true became false", id="yes, then no"),
        pytest.param(flags(True), flags(False), BETTER, "false became true", id="no, then yes"),
        pytest.param(flags(False, False, True), flags(True), WORSE, "true became false in 2 of 3 runs", id="mostly no"),
        pytest.param(flags(False, True), flags(True), WORSE, "true became false in 1 of 2 runs", id="half no"),
        pytest.param(
            flags(False, True, True), flags(True), UNSURE, "2 of 3 are true, and 1 of 1 of the base", id="once no"
        ),
        pytest.param(
            flags(True, False), flags(False), UNSURE, "1 of 2 are true, and 0 of 1 of the base", id="no, then half yes"
        ),
        pytest.param(
            flags(True, False), flags(True, False), UNSURE, "1 of 2 are true, and 1 of 2 of the base", id="mixed"
        ),
    ],
)
def test_flags(head: Side, base: Side, verdict: Verdict, reason: str) -> None:
    ruling = judge(head, base, rule=Rule(direction=HIGHER), direction=HIGHER, gated=True)
    assert (ruling.verdict, ruling.reason) == (verdict, reason)


def test_a_flag_whose_good_value_is_no() -> None:
    verdicts = [
        judge(flags(now), flags(not now), rule=Rule(direction=LOWER), direction=LOWER, gated=True).verdict
        for now in (True, False)
    ]
    assert verdicts == [WORSE, BETTER]


@pytest.mark.parametrize(
    ("head", "base", "rule", "verdict"),
    [
        pytest.param(TEN_TIMES, FIVE, Rule(direction=LOWER), WORSE, id="more where less is better"),
        pytest.param(TEN_TIMES, FIVE, Rule(direction=HIGHER), BETTER, id="more where more is better"),
        pytest.param(TEN_TIMES, FIVE, Rule(direction=TARGET, target=1.0), WORSE, id="away from the target"),
        pytest.param(FIVE, TEN_TIMES, Rule(direction=TARGET, target=1.0), BETTER, id="nearer to the target"),
        pytest.param(MINUS, TEN_TIMES, Rule(direction=TARGET, target=4.5), SAME, id="the same distance"),
        pytest.param(FIVE, flags(*[True] * 5), Rule(direction=HIGHER), SAME, id="a flag that became a number"),
        pytest.param(numbers(10.0), numbers(1.0), Rule(direction=LOWER), UNSURE, id="one run each"),
        pytest.param(TEN_TIMES, FIVE, Rule(direction=LOWER, tolerance=1.0), WORSE, id="beyond its tolerance"),
        pytest.param(FIVE, numbers(*[0.9] * 5), Rule(direction=LOWER, tolerance=0.2), SAME, id="within its tolerance"),
    ],
)
def test_numbers(head: Side, base: Side, rule: Rule, verdict: Verdict) -> None:
    assert judge(head, base, rule=rule, direction=rule.direction, gated=True).verdict is verdict


def test_the_noise_of_the_same_code_is_a_tolerance() -> None:
    rule, slower = Rule(direction=LOWER), numbers(*[1.3] * 5)
    noisy = judge(slower, FIVE, rule=rule, direction=LOWER, gated=True, floor=Floor(share=0.5, pairs=3))
    assert (noisy.verdict, judge(slower, FIVE, rule=rule, direction=LOWER, gated=True).verdict) == (SAME, WORSE)


@pytest.mark.parametrize(
    ("head", "base", "verdict", "reason"),
    [
        pytest.param(
            numbers(*[1.0] * 4, runs=5), FIVE, UNSURE, "1 of 5 runs gave no number", id="fewer runs than the base"
        ),
        pytest.param(numbers(*[1.0] * 5, partly=2), FIVE, UNSURE, "2 of 5 runs gave no number", id="some trials"),
        pytest.param(numbers(*[10.0] * 4, runs=5), FIVE, WORSE, "", id="fewer runs, and worse"),
        pytest.param(FIVE, numbers(*[1.0] * 4, runs=5), SAME, "", id="more runs than the base"),
    ],
)
def test_some_runs_without_a_number(head: Side, base: Side, verdict: Verdict, reason: str) -> None:
    ruling = judge(head, base, rule=Rule(direction=LOWER), direction=LOWER, gated=True)
    assert (ruling.verdict, ruling.reason) == (verdict, reason)


NO_RULE = Rule(direction=NO_DIRECTION, by_name=True)


@pytest.mark.parametrize(
    ("head", "base", "rule", "direction", "verdict", "reason"),
    [
        pytest.param(FIVE, FIVE, NO_RULE, NO_DIRECTION, SAME, "", id="the same"),
        pytest.param(
            TEN_TIMES,
            FIVE,
            Rule(direction=LOWER, by_name=True),
            LOWER,
            UNSURE,
            "measured of every run: a rule would gate it",
            id="measured of every run",
        ),
        pytest.param(
            empty(),
            FIVE,
            Rule(direction=LOWER, by_name=True),
            LOWER,
            UNSURE,
            "it is gone; measured of every run: a rule would gate it",
            id="measured of every run, and gone",
        ),
        pytest.param(
            MINUS,
            FIVE,
            Rule(direction=LOWER, by_name=True),
            NO_DIRECTION,
            CHANGED,
            f"it fell below 0; {UNKNOWN}",
            id="an error below 0",
        ),
        pytest.param(
            MINUS, FIVE, Rule(direction=NO_DIRECTION), NO_DIRECTION, UNSURE, UNKNOWN, id="ignored, and below 0"
        ),
        pytest.param(
            FIVE, MINUS, Rule(direction=LOWER, by_name=True), NO_DIRECTION, UNSURE, UNKNOWN, id="a base below 0"
        ),
        pytest.param(
            ZERO,
            FIVE,
            NO_RULE,
            NO_DIRECTION,
            CHANGED,
            f"it is always 0; {UNKNOWN}",
            id="an unknown name that fell to 0",
        ),
        pytest.param(
            ZERO,
            FIVE,
            Rule(direction=NO_DIRECTION),
            NO_DIRECTION,
            UNSURE,
            f"it is always 0; {UNKNOWN}",
            id="ignored, and fell to 0",
        ),
        pytest.param(TEN_TIMES, FIVE, NO_RULE, NO_DIRECTION, UNSURE, UNKNOWN, id="an unknown name"),
    ],
)
def test_without_a_gate(
    *, head: Side, base: Side, rule: Rule, direction: Direction, verdict: Verdict, reason: str
) -> None:
    ruling = judge(head, base, rule=rule, direction=direction, gated=False)
    assert (ruling.verdict, ruling.reason) == (verdict, reason)
