"""What one side lost, and what is no number, is no pass: the same cases in a report and on one machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cvl_ci.commands import report as reporting
from cvl_ci.local.run_files import assets
from cvl_ci.result.benchmark import comparison
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.leg_file import line, read
from cvl_ci.result.benchmark.readings import Readings
from cvl_ci.result.benchmark.rules import Rules
from cvl_ci.result.benchmark.rules import read as read_rules
from cvl_ci.result.benchmark.tables import read_json
from cvl_ci.result.benchmark.trials import together, trial
from cvl_ci.result.matrix import report
from cvl_ci.result.summary import _json_value
from tests.result.benchmark.legs import NIGHT, summary

BASE, HEAD = "b" * 40, "c" * 40
GONE, NAN, INF = "gone", float("nan"), float("inf")
NOISE = (1.0, 1.01, 0.99, 1.005, 0.995)
LOSS, GOOD = [0.5 * one for one in NOISE], [0.9 * one for one in NOISE]

Values = Sequence[Any]
CASES: dict[str, tuple[str, Values, Values, str]] = {
    "gone": ("accuracy", GOOD, [GONE] * 5, "worse"),
    "NaN": ("loss", LOSS, [NAN] * 5, "worse"),
    "Inf": ("loss", LOSS, [INF] * 5, "worse"),
    "minus Inf": ("accuracy", GOOD, [-INF] * 5, "worse"),
    "a text that says NaN": ("loss", LOSS, ["NaN"] * 5, "worse"),
    "a text": ("accuracy", GOOD, ["n/a"] * 5, "worse"),
    "null": ("loss", LOSS, [None] * 5, "worse"),
    "one run, gone": ("accuracy", [0.9], [GONE], "worse"),
    "one run, NaN": ("loss", [0.5], [NAN], "worse"),
    "true, then false": ("passed", [True] * 5, [False] * 5, "worse"),
    "one run, true, then false": ("passed", [True], [False], "worse"),
    "false, then true": ("passed", [False] * 5, [True] * 5, "better"),
    "true to false where false is good": ("diverged", [True] * 5, [False] * 5, "better"),
    "false to true where false is good": ("diverged", [False] * 5, [True] * 5, "worse"),
    "true and true": ("passed", [True] * 5, [True] * 5, "same"),
    "one of five is false": ("passed", [True] * 5, [True, True, False, True, True], "unsure"),
    "three of five are false": ("passed", [True] * 5, [False, True, False, True, False], "worse"),
    "a flag, then a number": ("passed", [True] * 5, [0] * 5, "worse"),
    "a flag, gone": ("passed", [True] * 5, [GONE] * 5, "worse"),
    "0, then 37": ("errors", [0] * 5, [37] * 5, "worse"),
    "0, then 37 in four": ("errors", [0] * 4, [37] * 4, "worse"),
    "0, then 37 in one": ("errors", [0], [37], "unsure"),
    "0, then more": ("accuracy", [0] * 5, GOOD, "better"),
    "0, now and then 3": ("errors", [0] * 5, [0, 3, 0, 0, 0], "unsure"),
    "37, then 0": ("errors", [37] * 5, [0] * 5, "better"),
    "a good number, then 0": ("accuracy", GOOD, [0] * 5, "worse"),
    "a good number, then -1": ("accuracy", GOOD, [-1] * 5, "worse"),
    "an error, then -1": ("errors", [5] * 5, [-1] * 5, "changed"),
    "0 and 0": ("errors", [0] * 5, [0] * 5, "same"),
    "one of five is missing": ("accuracy", GOOD, [*GOOD[:4], GONE], "unsure"),
    "one of five is NaN": ("loss", LOSS, [NAN, *LOSS[1:]], "unsure"),
    "three of five are NaN": ("loss", LOSS, [NAN, NAN, NAN, *LOSS[3:]], "worse"),
    "one of five is NaN, and the rest is worse": ("loss", LOSS, [NAN, *(2 * one for one in LOSS[1:])], "worse"),
    "one of five is missing in the base alone": ("accuracy", [GONE, *GOOD[1:]], GOOD, "same"),
    "new": ("accuracy", [GONE] * 5, GOOD, "no baseline"),
    "new, and NaN": ("loss", [GONE] * 5, [NAN] * 5, "unsure"),
    "NaN on both sides": ("loss", [NAN] * 5, [NAN] * 5, "unsure"),
    "a text on both sides": ("accuracy", ["n/a"] * 5, ["n/a"] * 5, "unsure"),
    "a text, then a number": ("accuracy", ["n/a"] * 5, GOOD, "no baseline"),
    "unknown and gone": ("widgets", GOOD, [GONE] * 5, "changed"),
    "unknown and NaN": ("widgets", GOOD, [NAN] * 5, "changed"),
    "unknown, from 0": ("widgets", [0] * 5, [37] * 5, "changed"),
    "unknown, then 0": ("widgets", GOOD, [0] * 5, "changed"),
    "unknown, true, then false": ("use_amp", [True] * 5, [False] * 5, "changed"),
    "a fifth slower, four times": ("latency_ms", [100, 101, 99, 100.5], [123, 124, 122, 123.5], "unsure"),
    "a fifth slower, four times, in every digit": ("latency_ms", [100] * 4, [123] * 4, "worse"),
    "alike in every digit, four times": ("latency_ms", [100] * 4, [100] * 4, "same"),
}


def measured(name: str, values: Values) -> list[dict[str, Any]]:
    return [{"steps_done": 3, **({} if value is GONE else {name: value})} for value in values]


def legs(name: str, values: Values, commit: str, *, through_history: bool = False) -> list[Leg]:
    """As a run writes its summary: what is no number becomes null on the way."""
    found = []
    for at, metrics in enumerate(measured(name, values)):
        said = summary(cluster=f"{commit[:2]}-{at}", commit=commit, at=NIGHT + at, metrics=_json_value(metrics))
        one = read(json.dumps(said, allow_nan=False).encode())
        found.append(read(line(one).encode()) if through_history else one)
    return found


def reported(case: str, *, rules: Rules | None = None, strict: bool = True) -> report.Report:
    name, before, after, _ = CASES[case]
    policy = report.ReportPolicy(fail_on_regression=strict)
    base = legs(name, before, BASE, through_history=True)
    return report.report(legs(name, after, HEAD), history=base, commits=[BASE], policy=policy, rules=rules)


def is_gated(case: str) -> bool:
    """A name that is known, and a number that has the sign which goes with it."""
    return CASES[case][0] not in {"widgets", "use_amp"} and case != "an error, then -1"


def every_text(found: report.Report) -> list[str]:
    written = reporting.files(found, assets=assets(), settings=reporting.Settings())
    return [*written.values(), "\n".join(reporting.as_text(found))]


@pytest.mark.parametrize("case", CASES)
def test_in_a_report(case: str) -> None:
    name, _, _, verdict = CASES[case]
    found = reported(case)
    [row] = found.rows
    one = next(one for one in row.comparison.metrics if one.metric == name)
    assert one.verdict.value == verdict
    assert one.gated is is_gated(case)
    assert (found.exit_code, reported(case, strict=False).exit_code) == (1 if verdict == "worse" else 0, 0)
    if verdict in {"worse", "changed"}:
        assert row.comparison.metrics[0] is one, "in the first place"
    status = {"same": "ok", "no baseline": "succeeded"}.get(verdict, verdict)
    assert json.loads(reporting.as_json(found))["rows"][0]["status"] == status
    for text in every_text(found):
        assert name in text or verdict in {"no baseline", "same", "better"}
        assert status == "ok" or "| ok |" not in text
        if verdict in {"unsure", "changed", "no baseline"}:
            assert "none red, 1 " in text, "never fine alone"


@pytest.mark.parametrize("case", CASES)
def test_on_one_machine(case: str) -> None:
    name, before, after, verdict = CASES[case]
    head, base = (
        [
            trial(read_json(json.dumps(metrics)), seconds=60.0 + at / 7)
            for at, metrics in enumerate(measured(name, values))
        ]
        for values in (after, before)
    )
    changes = comparison.compare_trials(head, base, rules=Rules())
    assert {one.metric: one.verdict for one in changes}[name] == verdict
    assert next(one.gated for one in changes if one.metric == name) is is_gated(case)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_in_json_is_none_and_is_not_dropped(text: str) -> None:
    found = read_json(f'{{"loss": {text}}}')
    assert found.metrics == {"loss": None}
    said = json.dumps(summary()).replace('"accuracy": 0.9', f'"accuracy": {text}')
    one = read(said.encode())
    assert (one.measurements.metrics["accuracy"], read(line(one).encode()).measurements.metrics["accuracy"]) == (
        None,
        None,
    )


def test_a_rule_that_says_ignore_is_not_shouted_down() -> None:
    found = reported("NaN", rules=read_rules(b"metrics: {loss: ignore}"))
    [row] = found.rows
    assert [one.verdict.value for one in row.comparison.metrics if one.metric == "loss"] == ["unsure"]
    assert found.exit_code == 0


def test_of_a_run_with_too_many_metrics_nobody_says_that_one_is_gone() -> None:
    many = {f"m{at}": 1 for at in range(300)}
    head = [read(json.dumps(summary(metrics=many, cluster=str(at), commit=HEAD)).encode()) for at in range(5)]
    found = report.report(head, history=legs("accuracy", GOOD, BASE), commits=[BASE])
    one = next(one for one in found.rows[0].comparison.metrics if one.metric == "accuracy")
    assert (one.verdict.value, "too many to keep" in one.ruling.reason) == ("unsure", True)


def test_legs_that_all_failed_lost_nothing() -> None:
    failed = [read(json.dumps(summary(ending="failed", exit_code=3, metrics={}, commit=HEAD)).encode())]
    found = report.report(failed, history=legs("accuracy", GOOD, BASE), commits=[BASE])
    assert (found.rows[0].comparison.worse, found.rows[0].comparison.metrics) == ((), ())


TRIALS: dict[str, tuple[Values, object]] = {
    "numbers": ([1.0, 3.0, 2.0], 2.0),
    "most are numbers": ([1.0, NAN, 2.0], 1.5),
    "few are numbers": ([1.0, NAN, NAN], None),
    "none is there but one": ([1.0, GONE, GONE], None),
    "flags": ([True, False, True], True),
    "most are false": ([True, False, False], False),
    "texts": (["a", "b", "c"], "c"),
    "a text in place of a number": ([1.0, "NaN", "NaN"], "NaN"),
}


@pytest.mark.parametrize("case", TRIALS)
def test_of_several_trials_the_metric_is_what_most_of_them_are(case: str) -> None:
    values, expected = TRIALS[case]
    trials = [trial(read_json(json.dumps({} if v is GONE else {"x": v})), seconds=9.0) for v in values]
    assert together(trials).metrics.get("x") == expected


def test_a_leg_whose_trials_partly_gave_no_number_is_not_called_the_same() -> None:
    def ran(commit: str, count: int) -> list[Leg]:
        trials = [trial(Readings(metrics={"accuracy": 0.9} if at < count else {}), seconds=9.0) for at in range(5)]
        one = together(trials)
        samples = {name: list(values) for name, values in one.samples.items()}
        said = [
            summary(cluster=f"{commit[:2]}{at}", commit=commit, metrics=dict(one.metrics), samples=samples)
            for at in range(5)
        ]
        return [read(json.dumps(each).encode()) for each in said]

    for count, verdict in ((5, "same"), (4, "unsure"), (2, "worse")):
        found = report.report(ran(HEAD, count), history=ran(BASE, 5), commits=[BASE])
        assert (
            next(one for one in found.rows[0].comparison.metrics if one.metric == "accuracy").verdict.value == verdict
        )
