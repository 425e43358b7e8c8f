"""“Best value” is a claim: billed, sound, as good as the others, and cheaper by more than the noise."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix.report import report
from tests.result.benchmark.legs import NIGHT, leg

HEAD = "a" * 40


def runs(machine: str, *costs: float, accuracy: float = 0.9, **more: Any) -> list[Leg]:
    return [
        leg(
            cluster=f"{machine}-{at}",
            commit=HEAD,
            at=NIGHT + at,
            instance_type=machine,
            cost_usd=usd,
            metrics={"accuracy": accuracy, "images_per_second": 1000 * usd},
            **more,
        )
        for at, usd in enumerate(costs)
    ]


def best(*legs: list[Leg]) -> list[str]:
    result = report([one for group in legs for one in group], history=[], commits=[])
    return [row.key.instance_type for row in result.rows if row.cost.is_best]


def test_the_cheapest_of_equal_results_is_the_best() -> None:
    assert best(runs("small", 0.02, 0.02), runs("large", 0.05, 0.05)) == ["small"]


def test_a_machine_that_bills_nothing_is_no_bargain() -> None:
    assert best(runs("emulated", 0.01, billed=False), runs("small", 0.02), runs("large", 0.05)) == ["small"]
    assert best(runs("emulated", 0.01, billed=False), runs("large", 0.05)) == [], "one is left: there is no choice"


@pytest.mark.parametrize(("accuracy", "marked"), [(0.5, []), (0.89, ["small"]), (0.95, ["small"])])
def test_a_worse_result_is_not_the_same_for_less(accuracy: float, marked: list[str]) -> None:
    """Its own speed, `images_per_second`, is lower too: the machine explains that, and the price pays for it."""
    assert best(runs("small", 0.02, accuracy=accuracy), runs("large", 0.05)) == marked


def test_among_three_a_bad_result_does_not_hide_the_next_best() -> None:
    assert best(runs("bad", 0.01, accuracy=0.4), runs("small", 0.02), runs("large", 0.05)) == ["small"]


@pytest.mark.parametrize(
    ("small", "large", "marked"),
    [
        ([0.0200], [0.0204], []),
        ([0.02, 0.03, 0.04], [0.045, 0.046, 0.044], []),
        ([0.02, 0.0201, 0.0199], [0.045, 0.046, 0.044], ["small"]),
    ],
    ids=["two per cent", "within the noise", "beyond the noise"],
)
def test_a_difference_within_the_noise_is_none(small: list[float], large: list[float], marked: list[str]) -> None:
    assert best(runs("small", *small), runs("large", *large)) == marked
