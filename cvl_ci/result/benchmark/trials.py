"""Combine the measurements of several runs on one machine: medians, with every run's own number. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from cvl_ci.result.benchmark.readings import MOST, Readings, finite

TIME = "time.trial"
"""The seconds that one trial ran, by the machine's own clock."""


def trial(measured: Readings, *, seconds: float) -> Readings:
    """Return one trial: one number for each metric (the median of its samples), and how long the trial ran."""
    return Readings(metrics={TIME: seconds, **_of(measured)})


def together(trials: Sequence[Readings]) -> Readings:
    """Return the median of each metric, and all its numbers. A metric that most trials lack has no median."""
    metrics: dict[str, object] = {}
    samples: dict[str, tuple[float, ...]] = {}
    for name in dict.fromkeys(name for one in trials for name in one.metrics):
        if len(metrics) > MOST:
            break
        values = [one.metrics.get(name) for one in trials]
        numbers = [number for value in values if (number := finite(value)) is not None]
        if len(numbers) > 1:
            samples[name] = tuple(numbers)
        metrics[name] = _one(values, numbers)
    return Readings(metrics=metrics, samples=samples)


def _one(values: Sequence[object], numbers: Sequence[float]) -> object:
    flags = [value for value in values if isinstance(value, bool)]
    if len(numbers) * 2 > len(values):
        return statistics.median(numbers)
    if len(flags) * 2 > len(values):
        return sum(flags) * 2 > len(flags)
    labels = [value for value in values if isinstance(value, str)]
    return labels[-1] if labels else None


def _of(trial: Readings) -> Mapping[str, object]:
    return {**{name: statistics.median(values) for name, values in trial.samples.items()}, **trial.metrics}
