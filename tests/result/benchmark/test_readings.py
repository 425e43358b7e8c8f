"""The collector of metrics: a table of hostile values, and its limits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cvl_ci.result.benchmark.readings import (
    DEEPEST,
    LARGEST,
    LONGEST,
    MOST,
    MOST_POINTS,
    Collector,
    UnreadableReadings,
    finite,
)


@pytest.mark.parametrize(
    ("values", "metrics", "series"),
    [
        ({"loss": 0.5, "epoch": 3}, {"loss": 0.5, "epoch": 3}, {}),
        ({"train": {"loss": 1}}, {"train.loss": 1}, {}),
        ({"ok": True, "gpu": "L4"}, {"ok": True, "gpu": "L4"}, {}),
        ({"loss": math.nan, "top": math.inf, "huge": 10 * LARGEST}, {"loss": None, "top": None, "huge": None}, {}),
        ({"none": None, "text": "x" * (LONGEST + 1), "set": {1}}, {}, {}),
        ({"loss": [3, 2.5, True, None, math.nan, "x", 1]}, {}, {"loss": (3.0, 2.5, 1.0)}),
        ({"loss": [], "words": ["x"]}, {}, {}),
        ({"": 1}, {}, {}),
        ({"a\x1b[31mb\nc": 1}, {"ab c": 1}, {}),
        ({"x" * 200: 1}, {"x" * LONGEST: 1}, {}),
    ],
)
def test_values_become_metrics_and_series(
    values: dict[str, Any], metrics: dict[str, object], series: dict[str, tuple[float, ...]]
) -> None:
    collector = Collector()
    collector.flatten(values)
    readings = collector.readings()
    assert (readings.metrics, readings.series, readings.samples) == (metrics, series, {})


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((0, 0.0), (-3, -3.0), (LARGEST / 10, LARGEST / 10)),
        *((True, None), (None, None), ("1", None), (math.inf, None), (LARGEST, None), (10**400, None)),
    ],
)
def test_a_number_is_one_that_arithmetic_can_use(value: object, number: float | None) -> None:
    assert finite(value) == number


def test_a_null_stands_for_nan_only_where_the_format_says_so() -> None:
    collector = Collector()
    collector.flatten({"loss": None}, null=True)
    assert collector.readings().metrics == {"loss": None}


def test_a_full_collector_takes_no_new_name_and_the_last_value_of_a_known_one() -> None:
    collector = Collector()
    collector.flatten({f"m{number}": number for number in range(MOST + 5)})
    collector.add("m0", 7)
    metrics = collector.readings().metrics
    assert (len(metrics), metrics["m0"], f"m{MOST}" in metrics) == (MOST, 7, False)


def test_a_long_series_keeps_its_last_points() -> None:
    collector = Collector()
    collector.add_series("loss", range(MOST_POINTS + 10))
    assert collector.readings().series["loss"] == tuple(map(float, range(10, MOST_POINTS + 10)))


def test_readings_of_another_file_come_with_a_prefix() -> None:
    one, other = Collector(), Collector()
    other.add("loss", 1)
    other.add_series("lr", [1, 2])
    other.add_samples("seconds", [3, 4])
    one.merge(other.readings(), prefix="head.")
    readings = one.readings()
    assert (readings.metrics, readings.series) == ({"head.loss": 1}, {"head.lr": (1.0, 2.0)})
    assert readings.samples == {"head.seconds": (3.0, 4.0)}


@pytest.mark.parametrize(("depth", "is_refused"), [(DEEPEST, False), (DEEPEST + 1, True)])
def test_a_nesting_has_a_limit(depth: int, *, is_refused: bool) -> None:
    values: dict[str, Any] = {"x": 1}
    for _ in range(depth):
        values = {"a": values}
    collector = Collector()
    if is_refused:
        with pytest.raises(UnreadableReadings, match="nested more than"):
            collector.flatten(values)
    else:
        collector.flatten(values)
        assert len(collector.readings().metrics) == 1
