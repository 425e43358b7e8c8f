"""Collect metrics, series and samples of one or many files, bounded. Pure: hostile values in, plain ones out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cvl_ci.result.sanitize import plain

MOST = 200
"""Metrics of one run."""

LONGEST = 120
"""Characters of a name or of a label."""

DEEPEST = 20
MOST_POINTS = 2_000
LARGEST = 1e300


class UnreadableReadings(ValueError):
    """Error for content that does not match its name, or exceeds a limit. Its text gives the reason in a few words."""


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Metrics of a run.

    `metrics`: one value a name. Labels stand next to numbers, and None stands for NaN and ∞. `series`: a metric over
    the steps of one run. `samples`: several measurements of the same quantity, whose median is the metric.
    """

    metrics: Mapping[str, object] = field(default_factory=dict)
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class Collector:
    """Collector that takes values until it is full."""

    def __init__(self) -> None:
        self._metrics: dict[str, object] = {}
        self._series: dict[str, tuple[float, ...]] = {}
        self._samples: dict[str, tuple[float, ...]] = {}

    def readings(self) -> Readings:
        return Readings(metrics=self._metrics, series=self._series, samples=self._samples)

    def add(self, name: str, value: object) -> None:
        """Add a number or a short text. Other values are skipped."""
        name = short(name)
        stored = _value(value)
        if (stored is not None or isinstance(value, int | float)) and self._room(self._metrics, name):
            self._metrics[name] = stored

    def add_series(self, name: str, values: Sequence[object]) -> None:
        self._add_many(self._series, name, values)

    def add_samples(self, name: str, values: Sequence[object]) -> None:
        self._add_many(self._samples, name, values)

    def flatten(self, values: Mapping[str, object], *, prefix: str = "", depth: int = 0, null: bool = False) -> None:
        """Add nested mappings as dotted names, and a list of numbers as a series. `null`: null stands for NaN."""
        if depth > DEEPEST:
            raise UnreadableReadings(f"is nested more than {DEEPEST} deep")
        for key, value in values.items():
            name = f"{prefix}{key}"[:LONGEST]
            if isinstance(value, Mapping):
                self.flatten(value, prefix=f"{name}.", depth=depth + 1, null=null)
            elif isinstance(value, list):
                self.add_series(name, value)
            else:
                self.add(name, math.nan if null and value is None else value)

    def merge(self, other: Readings, *, prefix: str = "") -> None:
        for name, value in other.metrics.items():
            if self._room(self._metrics, short(prefix + name)):
                self._metrics[short(prefix + name)] = value
        for own, additions in ((self._series, other.series), (self._samples, other.samples)):
            own.update({short(prefix + name): points for name, points in additions.items()})

    def _add_many(self, stored: dict[str, tuple[float, ...]], name: str, values: Sequence[object]) -> None:
        numbers = [number for value in values if (number := finite(value)) is not None]
        if numbers and self._room(stored, short(name)):
            stored[short(name)] = tuple(numbers[-MOST_POINTS:])

    @staticmethod
    def _room(stored: Mapping[str, object], name: str) -> bool:
        return bool(name) and (name in stored or len(stored) < MOST)


def finite(value: object) -> float | None:
    """Return a number that arithmetic can use, or None. True is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST < value < LARGEST and math.isfinite(value) else None


def short(text: str, *, most: int = LONGEST) -> str:
    """Return a text as a name or label: no controls, no half characters, not too long."""
    return plain(text[: 2 * most]).encode("utf-8", "replace").decode()[:most]


def _value(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if finite(value) is not None else None
    return short(value) if isinstance(value, str) and len(value) <= LONGEST else None
