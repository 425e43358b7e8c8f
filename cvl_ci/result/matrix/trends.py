"""Compute the trend of a metric over the last nights, its outliers, and the cost of each night. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

from cvl_ci.model.outcome import Ending
from cvl_ci.result.benchmark.leg import Leg

FEWEST_FOR_OUTLIERS = 5
_LIMITS: Mapping[int, float] = {
    5: 30.0, 6: 13.2, 8: 9.2, 10: 7.5, 12: 6.5, 14: 5.9, 16: 5.4, 18: 5.1, 20: 4.9, 24: 4.6, 30: 4.3, 40: 4.0, 60: 3.8,
}  # fmt: skip
"""The limit in robust standard deviations, by the least number of points.

Plain noise, of a normal distribution, passes it less than once in a thousand points. The fewer the points, the less is
known of their deviation. tests/result/matrix/test_trends.py holds the rate.
"""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Point of a trend. `at`: epoch seconds. `outlier`: far from all its neighbours."""

    at: float
    value: float
    outlier: bool = False


@dataclass(frozen=True, kw_only=True)
class Night:
    """Cost of one night, kept machines so far. `billed_usd`: without the sandbox, which bills nothing."""

    day: str
    usd: float
    billed_usd: float
    legs: int


def trend(metric: str, legs: Sequence[Leg], *, nights: int) -> tuple[Point, ...]:
    """Return the median of each day, UTC, at the time of its last successful run, oldest first."""
    days: dict[str, list[float]] = {}
    last: dict[str, float] = {}
    for leg in legs:
        values_of_leg = leg.measured(metric) if leg.source.at and leg.ending is Ending.SUCCEEDED else ()
        if values_of_leg:
            name = day(leg.source.at)
            days.setdefault(name, []).append(statistics.median(values_of_leg))
            last[name] = max(leg.source.at, last.get(name, 0.0))
    points = [(last[name], statistics.median(values)) for name, values in sorted(days.items())][-nights:]
    marked = outliers([value for _, value in points])
    return tuple(Point(at=at, value=value, outlier=place in marked) for place, (at, value) in enumerate(points))


def outliers(values: Sequence[float]) -> frozenset[int]:
    """Return the places of outliers, by median and median deviation, which an outlier itself does not move.

    If the values never differ, a value that differs by more than a hundredth is an outlier.
    """
    if len(values) < FEWEST_FOR_OUTLIERS:
        return frozenset()
    middle = statistics.median(values)
    deviation = 1.4826 * statistics.median(abs(value - middle) for value in values)
    deviations = _LIMITS[max(least for least in _LIMITS if least <= len(values))]
    limit = max(deviations * deviation, 0.01 * abs(middle))
    return frozenset(place for place, value in enumerate(values) if abs(value - middle) > limit)


def costs(legs: Iterable[Leg], *, nights: int) -> tuple[Night, ...]:
    """Return the cost per day, UTC, oldest first."""
    days: dict[str, list[Leg]] = {}
    for leg in legs:
        if leg.source.at and leg.cost.usd is not None:
            days.setdefault(day(leg.source.at), []).append(leg)
    return tuple(
        Night(
            day=name,
            usd=sum(leg.cost.usd_so_far or 0.0 for leg in those),
            billed_usd=sum(leg.cost.usd_so_far or 0.0 for leg in those if leg.cost.billed),
            legs=len(those),
        )
        for name, those in sorted(days.items())[-nights:]
    )


def day(at: float) -> str:
    return _day(int(at // 86_400))


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, tz=timezone.utc).strftime("%Y-%m-%d")
