"""Hold one metric of all runs of one side: its numbers, and the runs without a number. Pure.

A run loses a metric where other runs have a number and this run has NaN, a text, or nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cvl_ci.result.benchmark.readings import MOST, finite
from cvl_ci.result.benchmark.trials import TIME


class Measured(Protocol):
    """A leg, or one trial of a run."""

    @property
    def metrics(self) -> Mapping[str, object]: ...

    @property
    def samples(self) -> Mapping[str, tuple[float, ...]]: ...


@dataclass(frozen=True, kw_only=True)
class Side:
    """One metric of one side.

    `numbers`: its samples. `measured`: how many of the `runs` have a number or a flag. `partly`: how many of these lack
    it in some trials. `crowded`: a run has more metrics than a summary stores.
    """

    runs: int
    measured: int = 0
    numbers: tuple[float, ...] = ()
    flags: tuple[bool, ...] = ()
    labels: tuple[str, ...] = ()
    is_named: bool = False
    partly: int = 0
    crowded: bool = False

    @property
    def is_there(self) -> bool:
        """Return whether most runs measured it, so that its median is a number."""
        return self.measured * 2 > self.runs

    @property
    def missing_share(self) -> float:
        """Return the share of runs that lack it."""
        return (self.runs - self.measured + self.partly) / self.runs if self.runs else 0.0

    @property
    def display(self) -> object:
        """Return what a reader sees: the median, the flag or the labels."""
        if self.numbers and self.is_there:
            return statistics.median(self.numbers)
        if self.flags and self.is_there:
            return sum(self.flags) * 2 > len(self.flags)
        return ", ".join(dict.fromkeys(self.labels[:3])) or None

    @property
    def as_numbers(self) -> tuple[float, ...]:
        return (*self.numbers, *map(float, self.flags))


def side(name: str, runs: Sequence[Measured], *, every_sample: bool = False) -> Side:
    """Return this metric of all `runs`.

    The samples of one machine share its luck, so a run counts as one measurement, unless `every_sample` is set.
    """
    numbers: list[float] = []
    flags: list[bool] = []
    labels: list[str] = []
    measured = partly = 0
    for run in runs:
        value, numbers_of_run = run.metrics.get(name), numbers_of(name, run)
        if numbers_of_run:
            numbers += numbers_of_run if every_sample else [statistics.median(numbers_of_run)]
            partly += len(numbers_of_run) < len(run.samples.get(TIME, ())) and name in run.samples
        elif isinstance(value, bool):
            flags.append(value)
        elif isinstance(value, str):
            labels.append(value)
        measured += bool(numbers_of_run) or isinstance(value, bool)
    return Side(
        runs=len(runs),
        measured=measured,
        numbers=tuple(numbers),
        flags=tuple(flags),
        labels=tuple(labels),
        is_named=any(name in run.metrics or name in run.samples for run in runs),
        partly=partly,
        crowded=any(len(run.metrics) >= MOST for run in runs),
    )


def numbers_of(name: str, run: Measured) -> tuple[float, ...]:
    """Return all samples, or the one value if a run has no samples.

    Without a number as its value, a metric has none.
    """
    one = finite(run.metrics.get(name))
    if one is None and name in run.metrics:
        return ()
    return run.samples.get(name) or (() if one is None else (one,))


def names_of(runs: Sequence[Measured]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for run in runs for name in (*run.metrics, *run.samples)))
