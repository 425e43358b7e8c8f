"""Nothing that cannot be told is worded as fine, in whatever a report writes; and another machine is no baseline."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cvl_ci.commands import report as reporting
from cvl_ci.local.run_files import assets
from cvl_ci.model.paired_comparison import Change, PairedComparison
from cvl_ci.result import text
from cvl_ci.result.benchmark.baseline import alike
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.leg_file import line, read
from cvl_ci.result.matrix import regressions
from cvl_ci.result.matrix import text as row_text
from cvl_ci.result.matrix.report import Report, ReportPolicy, report
from cvl_ci.result.matrix.trends import trend
from cvl_ci.result.report import _compared
from tests import golden
from tests.result.benchmark.legs import NIGHT, leg

MESSAGES = golden.Messages(__name__)

BASE, HEAD = "b" * 40, "c" * 40
STRICT = ReportPolicy(fail_on_regression=True)


def runs(commit: str, *values: object, **more: Any) -> list[Leg]:
    return [
        leg(
            **{
                "cluster": f"{commit[:2]}{at}{more.get('instance_type', '')}",
                "commit": commit,
                "at": NIGHT + at,
                "metrics": {"accuracy": value},
                **more,
            }
        )
        for at, value in enumerate(values)
    ]


def told(head: list[Leg], base: list[Leg]) -> Report:
    return report(head, history=base, commits=[BASE], policy=STRICT)


def texts(found: Report) -> dict[str, str]:
    return dict(reporting.files(found, assets=assets(), settings=reporting.Settings()))


# ---- other hardware --------------------------------------------------------------------------------------------------

ELSEWHERE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "PCIe and SXM": (
        {"instance_type": "gpu_1x_h100_pcie", "accelerators": {"H100": 1}},
        {"instance_type": "gpu_1x_h100_sxm5", "accelerators": {"H100": 1}},
        "instance type",
    ),
    "CPUs": (
        {"instance_type": "m6i.2xlarge", "accelerators": {}},
        {"instance_type": "c6i.xlarge", "accelerators": {}},
        "instance type",
    ),
    "nodes": ({"num_nodes": 4}, {"num_nodes": 2}, "number of nodes"),
    "both": (
        {"num_nodes": 4, "instance_type": "a"},
        {"num_nodes": 2, "instance_type": "b"},
        "instance type and number",
    ),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_other_hardware_is_named_and_never_judged(case: str) -> None:
    before, after, differ = ELSEWHERE[case]
    found = told(runs(HEAD, *[0.5] * 5, **after), runs(BASE, *[0.9] * 5, **before))
    [row] = found.rows
    assert (found.exit_code, row.comparison.worse, row.comparison.verdict.value) == (0, (), "no baseline")
    assert row.comparison.baseline.reason.startswith(
        f"the base ran on {leg(**before).key.place}, this on {leg(**after).key.place}: "
    )
    assert f"they differ in {differ}" in row.comparison.baseline.reason
    for name, page in texts(found).items():
        assert "they differ in" in page, name
        assert "| ok |" not in page


def test_another_region_is_shown_and_compared() -> None:
    found = told(runs(HEAD, *[0.5] * 5, region="us-west-2"), runs(BASE, *[0.9] * 5))
    assert found.exit_code == 1
    assert "5 runs in us-east-1 (this: us-west-2)" in row_text.versus(found.rows[0])
    assert json.loads(reporting.as_json(found))["rows"][0]["regions"] == ["us-west-2"]


def test_runs_of_two_regions_in_one_row_name_both() -> None:
    found = told([*runs(HEAD, 0.5, region="us-west-2", cluster="west"), *runs(HEAD, 0.5)], [])
    [row] = found.rows
    assert row.place == f"{leg().key.place} · 2 runs in us-east-1, us-west-2"
    for name, page in texts(found).items():
        assert "2 runs in us-east-1, us-west-2" in page, name
    [alone] = told(runs(HEAD, 0.5, 0.5), []).rows
    assert alone.place == leg().key.place


@pytest.mark.parametrize("lack", [("instance_type",), ("num_nodes",), ("instance_type", "num_nodes")])
@pytest.mark.parametrize("side", ["base", "head", "both"])
def test_a_summary_that_does_not_name_its_machine_is_no_match(lack: tuple[str, ...], side: str) -> None:
    less = dict.fromkeys(lack)
    before, after = (less if side in {name, "both"} else {} for name in ("base", "head"))
    found = told(runs(HEAD, *[0.5] * 5, **after), runs(BASE, *[0.9] * 5, **before))
    [row] = found.rows
    assert (found.exit_code, row.comparison.verdict.value) == (0, "no baseline")
    assert "does not say on which instance type" in row.comparison.baseline.reason
    assert "and how many nodes it ran: not compared" in row.comparison.baseline.reason


def test_a_line_of_history_keeps_what_the_machine_was() -> None:
    one = leg(num_nodes=4, instance_type="p4d.24xlarge")
    again = read(line(one).encode())
    assert (again.key, alike(again.key, one.key)) == (one.key, True)
    assert (one.key.place, leg(num_nodes=True).key.nodes) == ("aws L4:1 p4d.24xlarge 4 nodes", 0)


# ---- words -----------------------------------------------------------------------------------------------------------


def test_a_gate_says_of_which_legs_it_says_nothing() -> None:
    found = told(runs(HEAD, 0.5), runs(BASE, 0.9))
    head, said = reporting.as_text(found)[:2]
    assert head == "1 leg, none red, 1 cannot be judged"
    MESSAGES.check("not gated", said)
    written = texts(found)
    assert all(said in written[name] for name in (reporting.PAGE, reporting.SUMMARY, reporting.COMMENT))
    assert json.loads(written[reporting.DATA])["rows"][0]["unsure"] == ["accuracy"]
    fine = told(runs(HEAD, *[0.9] * 5), runs(BASE, *[0.9] * 5))
    assert reporting.as_text(fine)[0] == "1 leg, none red"
    assert row_text.not_gated(fine) == ""


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ({"a": "unsure", "b": "same"}, "cannot be judged: `a +23.0 % unsure`"),
        ({"a": "worse", "b": "unsure"}, "**worse** `a +23.0 % worse`<br>cannot be judged: `b +23.0 % unsure`"),
        ({"a": "changed", "b": "same"}, "**changed** `a +23.0 % changed`"),
        ({"a": "same", "b": "better"}, "`nothing is worse than main`"),
        ({"a": "no baseline"}, "`nothing was judged: no metric has a direction`"),
        ({}, "`nothing was judged: no metric has a direction`"),
    ],
)
def test_only_what_was_judged_is_not_worse(verdicts: dict[str, str], said: str) -> None:
    changes = tuple(
        Change(metric=name, head=1.23, base=1.0, change=0.23, verdict=verdict) for name, verdict in verdicts.items()
    )
    told = PairedComparison(ref="main", commit=BASE, changes=changes)
    assert _compared(told) == said
    lines = "\n".join(text.paired_lines(told))
    assert all(f"{name} +23.0 % {verdict}" in lines for name, verdict in verdicts.items())


# ---- the issue, the best value, several machines, trends -------------------------------------------------------------


def test_an_issue_is_closed_by_a_verdict_and_not_by_the_lack_of_one() -> None:
    base = runs(BASE, *[0.9] * 5)
    bad = set(regressions.bad(told(runs(HEAD, *[0.5] * 5), base)))
    failed = set(regressions.bad(told(runs(HEAD, 0.9, ending="failed", exit_code=3), base)))
    assert (len(bad), len(failed), bad & failed) == (1, 1, set())
    for head, known, closes in (
        (runs(HEAD, 0.9), base, False),  # one sample
        (runs(HEAD, *[0.9] * 5), [], False),  # no baseline
        (runs(HEAD, *[0.9] * 5, instance_type="other"), base, False),
        (runs(HEAD, *[0.9] * 5), base, True),
    ):
        fine = set(regressions.fine(told(head, known)))
        assert (bad <= fine) is closes
        assert (failed <= fine) is (head[0].key.instance_type != "other")


def test_the_best_value_measured_what_it_should() -> None:
    cheap = runs(HEAD, None, None, cost_usd=0.01, instance_type="cheap")
    dear, dearer = (runs(HEAD, 0.9, 0.9, cost_usd=usd, instance_type=str(usd)) for usd in (0.04, 0.05))
    found = told([*cheap, *dear, *dearer], [])
    assert [row.key.instance_type for row in found.rows if row.cost.is_best] == ["0.04"]


def test_of_several_machines_that_compared_the_worst_verdict_counts() -> None:
    def one(verdict: str, at: int) -> Leg:
        change = {"metric": "accuracy", "head": 0.5, "base": 0.9, "change": -0.4, "verdict": verdict, "gated": True}
        return leg(cluster=str(at), at=NIGHT + at, comparison={"ref": "main", "commit": BASE, "changes": [change]})

    assert told([one("worse", 1), one("same", 2)], []).exit_code == 1
    assert told([one("unsure", 1), one("same", 2)], []).rows[0].comparison.verdict.value == "unsure"


def test_a_verdict_of_its_own_machine_is_gated_by_the_rules_here() -> None:
    change = {"metric": "widgets", "head": 1, "base": 2, "change": -0.5, "verdict": "worse"}
    found = told([leg(comparison={"ref": "main", "commit": BASE, "changes": [change]})], [])
    assert found.exit_code == 0
    assert [one.verdict.value for one in found.rows[0].comparison.metrics if one.metric == "widgets"] == ["unsure"]
    lost = {"metric": "loss", "head": None, "base": 2, "change": None, "verdict": "worse", "why": "it is gone"}
    assert told([leg(comparison={"ref": "main", "commit": BASE, "changes": [lost]})], []).exit_code == 1


def test_a_lost_metric_still_has_its_trend_and_no_point_of_tonight() -> None:
    nights = [one for at in range(3) for one in runs(f"{at}" * 40, 0.9, at=NIGHT - (9 - at) * 86_400)]
    found = told(runs(HEAD, *[None] * 5), [*nights, *runs(BASE, *[0.9] * 5, at=NIGHT - 86_400)])
    [row] = found.rows
    assert len(trend("accuracy", [*row.comparison.history, *row.legs], nights=14)) == 4
    data = texts(found)[reporting.PAGE].split('id="data">')[1].split("</script>")[0]
    assert [json.loads(data)["rows"][0][name] for name in ("telling",)] == ["accuracy"]
    assert len(json.loads(data)["rows"][0]["trends"]["accuracy"]) == 4


def test_a_leg_that_does_not_say_how_long_it_took_is_not_called_quick() -> None:
    found = told([*runs(HEAD, 0.9, duration_seconds=100.0), *runs("d" * 40, 0.9, duration_seconds=None)], [])
    assert [row.cost.seconds for row in found.rows] == [100.0]


def test_a_cost_that_is_not_known_is_not_counted_as_nothing() -> None:
    found = told([*runs(HEAD, 0.9, cost_usd=None), *runs("d" * 40, 0.9, cost_usd=0.5)], [])
    assert "<b>$0.50, and 1 of unknown cost</b>" in texts(found)[reporting.PAGE]
    assert json.loads(reporting.as_json(found))["unpriced"] == 1
    assert told(runs(HEAD, 0.9, cost_usd=None, billed=False), []).unpriced == 0
