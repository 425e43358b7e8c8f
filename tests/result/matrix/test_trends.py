"""Outliers are what they claim: plain noise is marked less than once in a thousand points, a broken night always."""

from __future__ import annotations

import random

import pytest

from cvl_ci.result.matrix.trends import FEWEST_FOR_OUTLIERS, outliers

CLAIMED = 1e-3
POINTS = 120_000


@pytest.mark.parametrize("count", [5, 7, 9, 11, 14, 15, 19, 23, 30, 45, 90])
def test_plain_noise_is_marked_less_than_once_in_a_thousand_points(count: int) -> None:
    """The limit of a binomial count with this mean, four deviations up: 120 + 4 × 11."""
    dice = random.Random(count)
    marked = sum(len(outliers([dice.gauss(100, 10) for _ in range(count)])) for _ in range(POINTS // count))
    assert marked <= POINTS * CLAIMED + 4 * (POINTS * CLAIMED) ** 0.5


@pytest.mark.parametrize("count", [8, 14, 30])
def test_a_broken_night_is_marked_among_noise(count: int) -> None:
    dice = random.Random(3)
    for _ in range(200):
        values = [dice.gauss(100, 1) for _ in range(count)]
        broken = dice.randrange(count)
        values[broken] = 300.0
        assert broken in outliers(values)


def test_the_noise_of_a_digit_is_not_an_outlier_and_few_points_have_none() -> None:
    assert outliers([100.0] * 9 + [100.5]) == frozenset()
    assert outliers([100.0] * 9 + [102.0]) == frozenset({9})
    assert outliers([1.0] * (FEWEST_FOR_OUTLIERS - 2) + [900.0]) == frozenset()
