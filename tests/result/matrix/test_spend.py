"""Spend over time: every billed run once, in each of four sums that all have the same total."""

from __future__ import annotations

import json

import pytest

from cvl_ci.result.matrix.spend import NO_NAME, as_json, as_text, spend
from tests.result.benchmark.legs import NIGHT, leg

DAY = 86_400.0
LEGS = [
    leg(cluster="a", at=NIGHT, cost_usd=1.0, job="night", cloud="aws", example="one"),
    leg(cluster="b", at=NIGHT + DAY, cost_usd=2.0, job="night", cloud="gcp", example="two"),
    leg(cluster="b", at=NIGHT + DAY + 1, cost_usd=2.5, job="night", cloud="gcp", example="two"),
    leg(cluster="c", at=NIGHT + DAY, cost_usd=4.0, cloud="aws", example="one", ending="failed", exit_code=1),
    leg(cluster="d", at=NIGHT + DAY, cost_usd=100.0, cloud="sandbox", billed=False),
    leg(cluster="e", at=NIGHT + DAY, cost_usd=None, cloud="aws"),
    leg(cluster="f", at=NIGHT - DAY, cost_usd=50.0, cloud="aws"),
]


def test_each_billed_run_counts_once_and_a_failed_one_too() -> None:
    total = spend(LEGS, since=NIGHT)
    assert (total.usd, total.runs, total.unknown) == (7.5, 3, 1)
    assert total.by["cloud"] == {"aws": 5.0, "gcp": 2.5}
    assert total.by["job"] == {NO_NAME: 4.0, "night": 3.5}
    assert total.by["example"] == {"one train": 5.0, "two train": 2.5}
    assert list(total.by["day"].values()) == [1.0, 6.5]
    assert list(total.by["day"]) == sorted(total.by["day"])


@pytest.mark.parametrize("name", ["day", "job", "example", "cloud"])
def test_every_sum_has_the_same_total(name: str) -> None:
    total = spend(LEGS, since=0.0)
    assert sum(total.by[name].values()) == pytest.approx(total.usd) == pytest.approx(57.5)


def test_programs_and_persons_read_the_same() -> None:
    total = spend(LEGS, since=NIGHT)
    read = json.loads(as_json(total))
    assert (read["usd"], read["runs"], read["runs_without_cost"]) == (7.5, 3, 1)
    text = "\n".join(as_text(total, since="2026-09-21"))
    assert text.startswith("$7.50 in 3 runs since 2026-09-21.\n1 more had a machine and name no cost.")
    assert "gcp" in text and "$2.50" in text
    assert as_text(spend([], since=0.0), since="ever") == ["$0.00 in 0 runs since ever."]


def test_a_hostile_name_stays_on_its_line() -> None:
    total = spend([leg(cluster="x", at=NIGHT, example="a\x1b[31m\nb", cost_usd=1.0)], since=0.0)
    assert not any("\x1b" in line or "\n" in line for line in as_text(total, since="ever"))
