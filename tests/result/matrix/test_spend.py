"""Spend over time: every billed run once, in each of four sums that all have the same total."""

from __future__ import annotations

import json

import pytest

from cvl_ci.local.run_files import assets
from cvl_ci.result.matrix.page import page
from cvl_ci.result.matrix.report import report
from cvl_ci.result.matrix.spend import KEYS, NO_NAME, as_json, as_text, spend
from cvl_ci.result.matrix.trends import day
from tests import golden
from tests.result.benchmark.legs import NIGHT, leg

MESSAGES = golden.Messages(__name__)

DAY = 86_400.0
LEGS = [
    leg(cluster="a", at=NIGHT, cost_usd=1.0, job="night", workflow="nightly", cloud="aws", example="one"),
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
    assert total.by["workflow"] == {NO_NAME: 6.5, "nightly": 1.0}
    assert total.by["example"] == {"one train": 5.0, "two train": 2.5}
    assert list(total.by["day"].values()) == [1.0, 6.5]
    assert list(total.by["day"]) == sorted(total.by["day"])


@pytest.mark.parametrize("name", KEYS)
def test_every_sum_has_the_same_total(name: str) -> None:
    total = spend(LEGS, since=0.0)
    assert sum(total.by[name].values()) == pytest.approx(total.usd) == pytest.approx(57.5)


def test_a_kept_machine_counts_so_far_and_its_most_is_told_next_to_it() -> None:
    total = spend([leg(cluster="k", at=NIGHT, cost_usd=5.0, released={"gone": False, "kept_usd": 3.0})], since=NIGHT)
    assert (total.usd, total.kept_usd) == (2.0, 3.0)
    assert all(sum(sums.values()) == 2.0 for sums in total.by.values())
    assert "Kept machines may add $3.00 at most." in as_text(total, since="ever")
    assert json.loads(as_json(total))["kept_usd_at_most"] == 3.0


def test_the_page_of_a_report_has_each_table_over_all_known_runs() -> None:
    """History counts too, and a table of many names keeps the largest, and the newest days."""
    many = [leg(cluster=f"m{at}", at=NIGHT - at * DAY, cost_usd=1.0 + at, example=f"e{at}") for at in range(1, 41)]
    found = report(LEGS[:1], history=many)
    text = page(found, assets=assets())
    section = text.partition("<h2>Spend over time</h2>")[2].partition("</main>")[0]
    assert section.startswith("<p>$861.00 in 41 runs.</p>")
    for name in KEYS:
        assert f"<th>{name}</th>" in section
    assert section.count('<p class="soft">and 10 more</p>') == 2, "the days and the examples"
    assert "<td>nightly</td>" in section
    assert f"<td>{day(NIGHT)}</td>" in section and f"<td>{day(NIGHT - 40 * DAY)}</td>" not in section
    assert "<td>e40 train</td>" in section and "<td>e1 train</td>" not in section
    assert "Spend over time" not in page(report([]), assets=assets())


def test_programs_and_persons_read_the_same() -> None:
    total = spend(LEGS, since=NIGHT)
    read = json.loads(as_json(total))
    assert (read["usd"], read["runs"], read["runs_without_cost"]) == (7.5, 3, 1)
    text = "\n".join(as_text(total, since="2026-09-21"))
    MESSAGES.check("spend", text)
    assert "gcp" in text and "$2.50" in text
    assert as_text(spend([], since=0.0), since="ever") == ["$0.00 in 0 runs since ever."]


def test_a_hostile_name_stays_on_its_line() -> None:
    total = spend([leg(cluster="x", at=NIGHT, example="a\x1b[31m\nb", cost_usd=1.0)], since=0.0)
    assert not any("\x1b" in line or "\n" in line for line in as_text(total, since="ever"))
