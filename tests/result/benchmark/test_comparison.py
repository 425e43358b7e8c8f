"""A run is compared with its base on like hardware, metric by metric, and what cannot be compared says why."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cvl_ci.model.outcome import Ending
from cvl_ci.result.benchmark.baseline import choose
from cvl_ci.result.benchmark.comparison import Comparison, compare, worse
from cvl_ci.result.benchmark.direction import Direction, by_name
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.leg_file import read
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.benchmark.rules import Rules
from cvl_ci.result.benchmark.rules import read as read_rules
from tests.result.benchmark.legs import leg, never_started, summary

BASE, PARENT = "b" * 40, "a" * 40
RULES = Rules()


def repeated(values: list[float], *, metric: str = "accuracy", **changed: Any) -> list[Leg]:
    return [
        leg(cluster=f"cvl-{at}", at=1000.0 + at, metrics={metric: value}, **changed) for at, value in enumerate(values)
    ]


def compared(head: list[Leg], found: list[Leg], *, rules: Rules = RULES, metric: str = "accuracy") -> Comparison:
    base = choose(head[0].key, commits=[BASE, PARENT], runs_before=found)
    return next(c for c in compare(head, base, rules=rules, history=found) if c.metric == metric)


def test_worse_beyond_tolerance_and_floor_is_called_worse() -> None:
    head = repeated([0.80, 0.81, 0.80, 0.79, 0.80])
    found = repeated([0.90, 0.91, 0.90, 0.89, 0.90], commit=BASE)
    assert compared(head, found).verdict is Verdict.WORSE
    nights = [
        replace(one, source=replace(one.source, at=one.source.at + 86_400 * (1 + night)))
        for night, one in enumerate(repeated([0.80, 0.95, 0.80, 0.95], commit=PARENT))
    ]
    assert compared(head, [*nights, *found]).verdict is not Verdict.WORSE


def test_a_hundred_samples_of_one_machine_are_one_measurement_until_nights_of_the_same_code_are_known() -> None:
    slow, fast = ({"accuracy": [value + at / 10_000 for at in range(100)]} for value in (0.8, 0.9))
    head = [leg(samples=slow, metrics={"accuracy": 0.8})]
    base = [leg(samples=fast, metrics={"accuracy": 0.9}, commit=BASE, cluster="b")]
    assert compared(head, base).verdict is Verdict.UNSURE
    nights = [
        leg(commit=PARENT, cluster=str(n), at=n * 86_400.0, metrics={"accuracy": 0.9 + n / 1000}) for n in range(1, 7)
    ]
    assert compared(head, [*nights[:4], *base]).verdict is Verdict.UNSURE
    assert compared(head, [*nights, *base]).verdict is Verdict.WORSE


def test_runs_repeated_in_one_night_are_no_two_nights() -> None:
    head = repeated([0.80, 0.81, 0.80, 0.79, 0.80])
    found = repeated([0.90, 1.02, 0.90, 1.02, 0.90], commit=BASE)
    assert compared(head, [*repeated([0.8, 0.95, 0.8, 0.95], commit=PARENT), *found]).verdict is Verdict.WORSE


def test_one_run_each_is_unsure_and_fails_nothing() -> None:
    one = compared([leg(metrics={"accuracy": 0.5})], [leg(commit=BASE)])
    assert one.verdict is Verdict.UNSURE
    assert worse([one]) == ()


def test_what_no_name_and_no_rule_explains_is_shown_and_never_gated() -> None:
    head = repeated([3.0] * 5, metric="policy_value")
    base = repeated([1.0] * 5, metric="policy_value", commit=BASE)
    one = compared(head, base, metric="policy_value")
    assert (one.gated, one.verdict, one.value, one.base) == (False, Verdict.UNSURE, 3.0, 1.0)


def test_a_signed_error_is_not_gated_by_its_name() -> None:
    head = repeated([-0.5] * 5, metric="ate_error")
    assert not compared(head, repeated([-0.1] * 5, metric="ate_error", commit=BASE), metric="ate_error").gated


def test_what_every_run_measures_is_gated_only_when_asked() -> None:
    slow = [leg(cluster=str(at), phases={"running": 120.0 + at / 10}) for at in range(5)]
    base = [leg(cluster=str(at), commit=BASE, phases={"running": 100.0 + at / 10}) for at in range(5)]
    one = compared(slow, base, metric="time.running")
    assert (one.direction, one.gated, one.verdict) == (Direction.LOWER, False, Verdict.UNSURE)
    rules = read_rules(b"metrics: {time.running: {direction: lower, tolerance: 10%}}")
    assert worse([compared(slow, base, rules=rules, metric="time.running")])


def test_what_a_job_took_of_the_gpus_is_a_metric_with_a_direction() -> None:
    took: dict[str, Any] = {"memory_mib": 15_000, "utilization": 70.5, "utilization_peak": 98}
    one = leg(metrics={}, gpu={**took, "gpus": 1, "memory_total_mib": 23_034, "more": -1}, driver="550.54.15")
    assert {name: one.measurements.metrics[f"gpu.{name}"] for name in took} == took
    assert one.key.driver == "550.54.15"
    assert [by_name(f"gpu.{name}") for name in took] == [Direction.LOWER, Direction.HIGHER, Direction.HIGHER]
    for hostile in ({"memory_mib": "x", "utilization": -3}, [1], None, {"utilization_peak": {"a": 1}}):
        assert not [name for name in leg(metrics={}, gpu=hostile).measurements.metrics if name.startswith("gpu.")]


def test_a_target_is_missed_on_either_side() -> None:
    rules = read_rules(b"metrics: {temperature: {target: 37}}")
    base = repeated([37.0, 37.1, 36.9, 37.0, 37.0], metric="temperature", commit=BASE)
    for off in (30.0, 44.0):
        one = compared(repeated([off] * 5, metric="temperature"), base, rules=rules, metric="temperature")
        assert (one.verdict, one.direction) == (Verdict.WORSE, Direction.TARGET)
    assert compared(base, base, rules=rules, metric="temperature").verdict is Verdict.SAME


def test_labels_stand_beside_the_numbers() -> None:
    one = compared([leg()], [leg(commit=BASE)], metric="model")
    assert (one.value, one.verdict) == ("ridge", Verdict.NO_BASELINE)


def test_a_summary_without_its_newer_fields_is_read() -> None:
    bare = {"ending": "never_started", "title": "digits_sgd train", "attempts": [{"cloud": "aws", "region": "r"}]}
    one = read(json.dumps(bare).encode())
    assert (one.key.example, one.key.preset, one.key.cloud, one.exit_code) == ("digits_sgd", "train", "aws", 70)
    assert (one.ending, one.machines.requested_locations, one.machines.is_gone) == (
        Ending.NEVER_STARTED,
        ("aws/r",),
        False,
    )


HOSTILE: dict[str, Any] = {
    "metrics": {"a": {"b": [1, "x", None]}, "\x1b[2J": 10**400, "d": {"x": {"y": 1}}},
    "samples": {"a": "no list", "b": [1, True, "2", None]},
    "phases": ["provisioning"],
    "attempts": [None, {"cloud": {"x": 1}}, {"zone": "\x1b]0;x\x07z"}],
    "accelerators": {"\x9b2J": {"x": 1}},
    "released": "yes",
    "reason": "\x1b[31m" + "x" * 100_000,
    "cost_usd": -5,
    "hourly_usd": "free",
    "exit_code": 10**30,
    "run_url": "https://x/) [y](javascript:z)",
    "at": "never",
    "spot": "yes",
    "billed": None,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_field_harms_nothing(name: str) -> None:
    one = leg(**{name: HOSTILE[name]})
    assert one.ending is Ending.SUCCEEDED
    assert "\x1b" not in repr(one)
    assert len(repr(one)) < 3000
    assert one.source.run_url in {"", "https://github.com/o/r/actions/runs/1"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"ending": "won"}', b"\xff", b"[" * 100_000])
def test_what_is_no_summary_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not|has an unknown ending"):
        read(content)


def test_the_summary_of_one_that_never_started_is_read() -> None:
    one = read(json.dumps(never_started(75, "No machine was available.")).encode())
    assert (one.key.cloud, one.exit_code, one.cost.usd, one.measurements.metrics) == (
        "aws",
        75,
        None,
        {"time.all": 180.0},
    )
    assert summary()["ending"] == "succeeded"
