"""What was read of one or many files: metrics, series and samples, bounded. Hostile values in, plain ones out. Pure."""

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


class Unreadable(ValueError):
    """Not what its name says, or more than anybody measures. Says why in a few words."""


@dataclass(frozen=True, kw_only=True)
class Readings:
    """`metrics`: one value a name, numbers, labels beside them, None for what is no number (NaN, ∞). `series`: a metric
    over the steps of one run. `samples`: the same thing measured again and again, of which the metric is the median."""

    metrics: Mapping[str, object] = field(default_factory=dict)
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class Collector:
    """Takes what it is given until it is full."""

    def __init__(self) -> None:
        self._metrics: dict[str, object] = {}
        self._series: dict[str, tuple[float, ...]] = {}
        self._samples: dict[str, tuple[float, ...]] = {}

    def readings(self) -> Readings:
        return Readings(metrics=self._metrics, series=self._series, samples=self._samples)

    def add(self, name: str, value: object) -> None:
        """Numbers and short texts; anything else is left out."""
        name = short(name)
        kept = _value(value)
        if (kept is not None or isinstance(value, int | float)) and self._room(self._metrics, name):
            self._metrics[name] = kept

    def add_series(self, name: str, values: Sequence[object]) -> None:
        self._add_many(self._series, name, values)

    def add_samples(self, name: str, values: Sequence[object]) -> None:
        self._add_many(self._samples, name, values)

    def flatten(self, values: Mapping[str, object], *, prefix: str = "", depth: int = 0, null: bool = False) -> None:
        """Nested mappings become dotted names, a list of numbers a series. `null`: it stands for what is no number."""
        if depth > DEEPEST:
            raise Unreadable(f"is nested more than {DEEPEST} deep")
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
        for mine, theirs in ((self._series, other.series), (self._samples, other.samples)):
            mine.update({short(prefix + name): points for name, points in theirs.items()})

    def _add_many(self, kept: dict[str, tuple[float, ...]], name: str, values: Sequence[object]) -> None:
        numbers = [number for value in values if (number := finite(value)) is not None]
        if numbers and self._room(kept, short(name)):
            kept[short(name)] = tuple(numbers[-MOST_POINTS:])

    @staticmethod
    def _room(kept: Mapping[str, object], name: str) -> bool:
        return bool(name) and (name in kept or len(kept) < MOST)


def finite(value: object) -> float | None:
    """A number that can be reckoned with; True is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST < value < LARGEST and math.isfinite(value) else None


def short(text: str, *, most: int = LONGEST) -> str:
    """As a name or label: no controls, no half characters, not too long."""
    return plain(text[: 2 * most]).encode("utf-8", "replace").decode()[:most]


def _value(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if finite(value) is not None else None
    return short(value) if isinstance(value, str) and len(value) <= LONGEST else None
