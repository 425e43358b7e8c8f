"""A report says of every leg what it came to, calls the right ones red, and is the same for the same legs."""

from __future__ import annotations

import json
import random
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from cvl_ci.commands import report as reporting
from cvl_ci.inputs.expected_legs import Expected
from cvl_ci.local.run_files import assets
from cvl_ci.model.loss import LossKind, Lost, Recovery
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.leg_file import read
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.matrix import markdown, regressions
from cvl_ci.result.matrix import text as row_text
from cvl_ci.result.matrix.failures import INFRASTRUCTURE, Failure, failure
from cvl_ci.result.matrix.report import Outdated, Report, ReportPolicy, report
from cvl_ci.result.matrix.row import Row
from cvl_ci.result.matrix.trends import costs, outliers, trend
from cvl_ci.result.report import COMMENT_BYTES, SUMMARY_BYTES
from cvl_ci.result.summary import to_json
from tests import golden
from tests.result.benchmark.legs import NIGHT, leg, never_started
from tests.result.matrix.matrix import BASE, DAY, DIGITS, ON_AWS, ON_GCP, RULES, failures, history, night, runs
from tests.result.outcomes import SUCCEEDED
from tests.support.processor import within

MESSAGES = golden.Messages(__name__)

STRICT = ReportPolicy(fail_on_regression=True)


def reported(legs: list[Leg] | None = None, *, policy: ReportPolicy = STRICT, **more: Any) -> Report:
    given: dict[str, Any] = {"history": history(), "commits": [BASE], "rules": RULES, **more}
    return report([*night(), *failures()] if legs is None else legs, policy=policy, **given)


def row(found: Report, words: str) -> Row:
    return next(one for one in found.rows if f"{one.key.example} {one.place}".startswith(words))


def files(found: Report) -> dict[str, str]:
    return dict(reporting.files(found, assets=assets(), settings=reporting.Settings()))


# ---- verdicts and exit codes --------------------------------------------------------------------------------


def test_each_leg_of_a_night_gets_the_right_verdict() -> None:
    found = reported()
    assert [(one.failures.worst, one.comparison.verdict) for one in found.rows] == [
        (Failure.TEST, Verdict.NO_BASELINE),
        (Failure.PREEMPTED, Verdict.NO_BASELINE),
        (Failure.CREDENTIALS, Verdict.NO_BASELINE),
        (Failure.QUOTA, Verdict.NO_BASELINE),
        (Failure.CAPACITY, Verdict.NO_BASELINE),
        (None, Verdict.WORSE),
        (None, Verdict.SAME),
        (None, Verdict.SAME),
    ]
    assert [one.metric for one in row(found, "digits_sgd aws L4:1").comparison.worse] == ["time.running"]


def test_a_failing_test_and_a_regression_are_red_and_infrastructure_is_not() -> None:
    assert [one.key.example for one in reported().red] == ["nanogpt", "digits_sgd"]
    assert reported().exit_code == 1
    assert reported(night()).exit_code == 1
    assert reported(night(), policy=ReportPolicy()).exit_code == 0
    assert reported([*night(), *failures()[1:]], policy=ReportPolicy()).exit_code == 0
    assert reported(failures()[1:], policy=ReportPolicy(fail_on_infrastructure=True)).exit_code == 75


def test_a_machine_that_may_be_left_is_louder_than_all_else() -> None:
    left = replace(night()[0], machines=replace(night()[0].machines, is_gone=False))
    found = reported([*failures(), left])
    assert found.exit_code == 79
    assert found.rows[0].failures.worst is Failure.MACHINE_LEFT
    assert f"> `cvl-ci down {left.machines.cluster}`" in markdown.comment(found, marker="<!-- m -->")
    assert f"cvl-ci down {left.machines.cluster}" in files(found)[reporting.PAGE]


def test_a_name_that_is_none_of_ours_is_not_made_into_a_command_to_paste() -> None:
    found = reported([replace(night()[0], machines=replace(night()[0].machines, is_gone=False, cluster="x; rm -rf ~"))])
    assert "rm -rf" not in files(found)[reporting.PAGE] + files(found)[reporting.COMMENT]
    assert "`cvl-ci down --all`" in files(found)[reporting.COMMENT]


CLASSES: dict[Failure, dict[str, Any]] = {
    Failure.TEST: {"ending": "failed", "exit_code": 7},
    Failure.TIMEOUT: {"ending": "timed_out", "exit_code": 124},
    Failure.BUDGET: {"ending": "over_budget", "exit_code": 78},
    Failure.DEARER: {
        "ending": "over_budget",
        "exit_code": 78,
        "attempts": [{"hourly_usd": 0.8, "error": "InsufficientInstanceCapacity"}, {"hourly_usd": 5.6}],
    },
    Failure.PREEMPTED: {"ending": "preempted", "exit_code": 75},
    Failure.CANCELLED: {"ending": "cancelled", "exit_code": 130},
    Failure.CREDENTIALS: never_started(77, "no keys"),
    Failure.CAPACITY: never_started(75, "InsufficientInstanceCapacity"),
    Failure.QUOTA: never_started(75, "VcpuLimitExceeded"),
    Failure.REQUEST: never_started(64, "1 input is wrong"),
    Failure.ENGINE: never_started(70, "SkyPilot failed"),
    Failure.UNFIT: {"ending": "unfit", "exit_code": 75},
    Failure.STORAGE: {"ending": "storage_failed", "exit_code": 70},
    Failure.DETACHED: {"ending": "detached", "exit_code": 0},
    Failure.IDLE: {"ending": "idle", "exit_code": 124},
    Failure.IDLE_NEUTRAL: {"ending": "idle", "exit_code": 0},
    Failure.MACHINE_LEFT: {"released": {"gone": False}},
}


@pytest.mark.parametrize("kind", Failure)
def test_every_kind_of_failure_is_told_apart(kind: Failure) -> None:
    assert failure(leg(**CLASSES[kind])) is kind


@pytest.mark.parametrize("fails", [False, True])
def test_a_neutral_idle_leg_is_neither_red_nor_lost(fails: bool) -> None:
    """The run itself ended with 0."""
    found = reported([leg(**CLASSES[Failure.IDLE_NEUTRAL])], policy=ReportPolicy(fail_on_infrastructure=fails))
    assert (found.exit_code, found.red) == (0, ())
    MESSAGES.check("nothing measured", row_text.headline(found))


def test_a_budget_that_a_dearer_place_used_up_is_infrastructure_also_in_the_history() -> None:
    dearer = leg(**CLASSES[Failure.DEARER])
    assert Failure.DEARER in INFRASTRUCTURE
    assert failure(read(leg_file.line(dearer).encode())) is Failure.DEARER
    cheaper = {**CLASSES[Failure.DEARER], "attempts": [{"hourly_usd": 5.6, "error": "full"}, {"hourly_usd": 0.8}]}
    assert failure(leg(**cheaper)) is Failure.BUDGET


def test_a_budget_that_bought_no_run_is_one() -> None:
    assert failure(leg(**never_started(78, "max_cost buys 2 min"))) is Failure.BUDGET
    assert Failure.BUDGET not in INFRASTRUCTURE


def test_what_only_lacked_a_machine_is_listed_for_another_try() -> None:
    assert {one.failures.worst for one in reported().rerun} == {Failure.CAPACITY, Failure.PREEMPTED}


def test_the_best_value_is_the_cheapest_that_is_sound_where_there_is_a_choice() -> None:
    assert [one.place for one in reported().rows if one.cost.is_best] == ["aws L4:1 g6.xlarge spot"]
    only = [one for one in reported(night()[:5]).rows if one.cost.is_best]
    assert only == []


def test_the_time_before_the_job_is_that_of_the_median_run() -> None:
    waits = [{"provisioning": 40.0, "setup": 20.0, "running": 900.0}, {"provisioning": 200.0}, {"provisioning": 90.0}]
    legs = [leg(cluster=f"cvl-1-0000000{at}", phases=phases) for at, phases in enumerate(waits)]
    without = leg(cluster="cvl-1-00000009", example="other", phases={"running": 5.0})
    told = files(reported([*legs, without]))
    assert "| 1 min 30 s |" in told["summary.md"]
    seconds = {row["example"]: row["seconds_before_job"] for row in json.loads(told["report.json"])["rows"]}
    assert seconds == {"digits_sgd": 90.0, "other": None}


def test_the_use_of_the_gpus_has_a_column_where_a_driver_reports_it() -> None:
    use = [{"gpus": 1, "memory_mib": 1, "memory_total_mib": 2, "utilization": share} for share in (30.0, 71.6, 80.0)]
    legs = [leg(cluster=f"cvl-1-0000000{at}", gpu=gpu) for at, gpu in enumerate(use)]
    without = leg(cluster="cvl-1-00000009", example="other", gpu=None)
    told, untold = (files(reported([*some, without])) for some in (legs, []))
    heads = [
        next(line for line in each["summary.md"].splitlines() if line.startswith("| example"))
        for each in (told, untold)
    ]
    MESSAGES.check("columns with and without use of GPUs", heads)
    assert " | 72 % |\n" in told["summary.md"]
    assert 'data-name="GPU">72 %</td>' in told["report.html"]
    assert "GPU" not in untold["report.html"].partition("<script")[0].partition("<tbody>")[0].rpartition("<thead>")[2]
    shares = {row["example"]: row["gpu_utilization"] for row in json.loads(told["report.json"])["rows"]}
    assert shares == {"digits_sgd": 71.6, "other": None}


REPLACED = {"lost": "preempted", "resumed_at": "2026-09-21T14:05:00Z"}
FOR_GOOD = {"lost": "node lost", "resumed_at": None}
GIVEN_BACK = {"lost": "unfit", "resumed_at": "2026-09-21T14:05:00Z"}
RECOVERIES: dict[str, tuple[list[dict[str, Any]], int | None]] = {
    "two in one run": ([{"recoveries": [REPLACED, REPLACED]}], 2),
    "those of all runs": ([{"recoveries": [REPLACED]}, {"recoveries": []}, {"recoveries": [REPLACED]}], 2),
    "no new machine came": ([{"recoveries": [REPLACED, FOR_GOOD]}], 1),
    "a broken machine was not lost": ([{"recoveries": [GIVEN_BACK, REPLACED]}], 1),
    "none": ([{"recoveries": []}], 0),
    "a summary without them": ([{}], None),
    "one of two without them": ([{"recoveries": [REPLACED]}, {}], None),
    "post wrote it": ([{"recoveries": [], "cloud": None, "region": None}], None),
    "nonsense": ([{"recoveries": "many"}], None),
    "nonsense in it": ([{"recoveries": [3, None, REPLACED]}], 1),
    "a forged count": ([{"recovery_count": -1}], None),
}


@pytest.mark.parametrize("case", RECOVERIES)
def test_the_recoveries_have_a_column_where_a_summary_names_one(case: str) -> None:
    summaries, count = RECOVERIES[case]
    legs = [leg(cluster=f"cvl-1-0000000{at}", **one) for at, one in enumerate(summaries)]
    assert [read(leg_file.line(one).encode()).machines.recoveries for one in legs] == [
        one.machines.recoveries for one in legs
    ]
    found = reported([*legs, leg(cluster="cvl-1-00000009", example="other", recoveries=[])])
    [recovering] = [one for one in found.rows if one.key.example == "digits_sgd"]
    assert recovering.recoveries == count
    told = files(found)
    head = next(line for line in told["summary.md"].splitlines() if line.startswith("| example"))
    assert head.endswith("| recoveries |") == bool(count)
    assert (f" | {count} |\n" in told["summary.md"]) == bool(count)
    assert (f'data-name="recoveries">{count}</td>' in told["report.html"]) == bool(count)
    assert {row["example"]: row["recoveries"] for row in json.loads(told["report.json"])["rows"]} == {
        "digits_sgd": count or None,
        "other": None,
    }


@pytest.mark.parametrize(
    ("kind", "resumed_at", "count"),
    [
        (LossKind.PREEMPTED, NIGHT, 1),
        (LossKind.NODE_LOST, NIGHT, 1),
        (LossKind.PREEMPTED, None, 0),
        (LossKind.UNFIT, NIGHT, 0),
    ],
)
def test_a_recovery_is_counted_as_a_run_writes_it(kind: LossKind, resumed_at: float | None, count: int) -> None:
    one = Recovery(
        number=1,
        lost=Lost(kind=kind, why="terminated"),
        place="aws/us-east-1",
        instance_type="g6.xlarge",
        spot=True,
        lost_at=NIGHT,
        ran_seconds=60.0,
        resumed_at=resumed_at,
    )
    written = replace(SUCCEEDED, machines=replace(SUCCEEDED.machines, recoveries=(one,)))
    assert leg_file.of_summary(to_json(written)).machines.recoveries == count


def test_repeated_runs_of_one_key_are_one_row() -> None:
    assert len(row(reported(), "digits_sgd gcp").legs) == 5


def test_of_a_run_that_was_told_twice_the_later_counts() -> None:
    first = replace(night(count=1)[0], machines=replace(night(count=1)[0].machines, is_gone=False))
    found = reported(
        [
            first,
            replace(
                first,
                machines=replace(first.machines, is_gone=True),
                source=replace(first.source, at=first.source.at + 60),
            ),
        ]
    )
    assert [len(one.legs) for one in found.rows] == [1]
    assert found.rows[0].failures.worst is None


FAILED: dict[str, Any] = {"ending": "failed", "exit_code": 7, "reason": "The job exited with code 7."}
NO_ROOM = never_started(75, "InsufficientInstanceCapacity")
CLAIMS: dict[str, tuple[dict[str, Any], dict[str, Any], Failure | None, bool]] = {
    "the same twice": ({}, {}, None, False),
    "post proves what main could not": ({"released": {"gone": False}, "exit_code": 79}, {}, None, False),
    "main failed, and post says so too": (FAILED, {**FAILED, "region": None, "cloud": None}, Failure.TEST, False),
    "a success over a failure": (FAILED, {}, Failure.TEST, True),
    "a failure over a success": ({}, FAILED, Failure.TEST, True),
    "infrastructure over a failure": (FAILED, NO_ROOM, Failure.TEST, True),
    "cancelled over a failure": (FAILED, {"ending": "cancelled", "exit_code": 130}, Failure.TEST, True),
    "another leg's name": ({}, {"leg": "b"}, None, True),
    "a request over no capacity": (NO_ROOM, never_started(64, "no such GPU"), Failure.REQUEST, True),
}


@pytest.mark.parametrize("case", CLAIMS)
@pytest.mark.parametrize("swapped", [False, True], ids=["in order", "the other order"])
def test_of_summaries_of_one_run_none_hides_what_another_tells(case: str, swapped: bool) -> None:
    first, second, kind, disagree = CLAIMS[case]
    told = [
        leg(**{**changed, "cluster": "cvl-a", "leg": changed.get("leg") or "a", "at": NIGHT + 60 * place})
        for place, changed in enumerate((first, second))
    ]
    found = report(reversed(told) if swapped else told)
    assert [row.failures.worst for row in found.rows] == [kind]
    assert len(found.contradictions) == disagree
    assert found.exit_code == (1 if disagree or kind is Failure.TEST else 0)
    texts = files(found)
    for name in (reporting.COMMENT, reporting.SUMMARY, reporting.PAGE):
        assert ("summaries disagree" in texts[name]) == disagree, name
    assert "summaries disagree" in row_text.red_because(found) or not disagree


def test_artifacts_with_the_same_summary_are_named_and_make_nothing_red() -> None:
    found = report([OK], copies=["cvl-a: legs-a-cost, copy-cost"])
    assert found.exit_code == 0
    assert all("legs-a-cost, copy-cost" in files(found)[name] for name in (reporting.COMMENT, reporting.PAGE))


@pytest.mark.parametrize("ending", [{}, FAILED], ids=["succeeded", "failed"])
def test_a_base_that_failed_stands_in_the_row_and_in_the_first_lines(ending: dict[str, Any]) -> None:
    why = "origin/main itself failed there, with exit code 3"
    failed = {"ref": "origin/main", "commit": BASE, "order": ["head-1", "base-1"], "changes": [], "reason": why}
    found = report([leg(cluster="cvl-a", leg="a", comparison=failed, **ending)])
    assert row_text.headline(found).endswith("1 without a result of its base")
    texts = files(found)
    for name in (reporting.COMMENT, reporting.SUMMARY):
        before, _, table = texts[name].partition("| example |")
        assert why in before and why in table, name
        assert "in turn with" not in texts[name]
    assert texts[reporting.PAGE].count(why) >= 2
    assert json.loads(texts[reporting.DATA])["rows"][0]["base_problem"].endswith(why)
    assert any(why in line for line in reporting.as_text(found))


CRASHED: dict[str, Any] = {
    **FAILED,
    "cluster": "cvl-a",
    "leg": "a",
    "run_url": "https://github.com/o/r/actions/runs/7/attempts/1",
    "check_run": "51725241954",
    "first_error": "ValueError: no such column (train.py:12)",
    "last_lines": [f"line {number}" for number in range(30)],
    "artifact_url": "https://github.com/o/r/actions/runs/7/artifacts/9",
}
JOB = "https://github.com/o/r/actions/runs/7/job/51725241954"


def test_a_failed_leg_shows_its_first_error_its_last_lines_and_its_job() -> None:
    found = report([leg(**CRASHED)])
    texts = files(found)
    for name in (reporting.COMMENT, reporting.SUMMARY):
        table, _, rest = texts[name].partition("<details>")
        assert f"`{CRASHED['first_error']}`" in table, "without a click"
        assert f"[log]({JOB}) [artifact]({CRASHED['artifact_url']}) |" in table
        assert "line 29" in rest and "line 10" in rest and "line 9\n" not in rest
    page = texts[reporting.PAGE]
    cell, _, folded = page.partition('data-name="change"')[2].partition("<details>")
    assert CRASHED["first_error"] in cell
    assert folded.index("line 29") < folded.index("</details>")
    assert f'href="{JOB}"' in page and f'href="{CRASHED["artifact_url"]}"' in page
    [row] = json.loads(texts[reporting.DATA])["rows"]
    assert (row["error"], row["log_url"]) == (CRASHED["first_error"], JOB)
    assert row["artifact_url"] == CRASHED["artifact_url"]
    assert any("ValueError" in line for line in reporting.as_text(found))


def test_post_s_proof_does_not_hide_the_error_that_main_saw() -> None:
    main = leg(**{**CRASHED, "released": {"gone": False}, "exit_code": 79, "at": NIGHT})
    post = leg(**{**CRASHED, "first_error": "", "last_lines": [], "artifact_url": "", "at": NIGHT + 60})
    [row] = report([main, post]).rows
    assert row_text.artifact_url(row) == CRASHED["artifact_url"]
    assert (row.failures.worst, row_text.error(row)) == (Failure.TEST, CRASHED["first_error"])
    assert (report([post]).rows[0].failures.worst, row_text.error(report([post]).rows[0])) == (Failure.TEST, "")


def test_a_job_s_lines_are_no_markup_in_a_report() -> None:
    hostile = ["```", "</details><script>alert(1)</script>", "@everyone [x](http://evil)", "````"]
    found = report([leg(**{**CRASHED, "first_error": "`x` <b>|</b> **y**", "last_lines": hostile})])
    texts = files(found)
    assert "<script>alert" not in texts[reporting.PAGE]
    rendered = MarkdownIt("commonmark").enable("table").render(texts[reporting.COMMENT])
    assert "<script>" not in rendered and "<strong>y" not in rendered and 'href="http://evil' not in rendered


@pytest.mark.parametrize(
    ("changed", "url"),
    [({}, JOB), ({"check_run": "x"}, CRASHED["run_url"]), ({"run_url": "javascript:x"}, "")],
    ids=["number", "no number", "no address"],
)
def test_a_log_link_leads_to_the_job_where_its_number_is_known(changed: dict[str, Any], url: str) -> None:
    assert leg(**{**CRASHED, **changed}).source.job_url == url


@pytest.mark.parametrize("address", ["javascript:x", "https://x/a)b", "https://x/a|b", 5])
def test_an_address_that_could_leave_its_link_is_none(address: object) -> None:
    assert leg(**{**CRASHED, "artifact_url": address}).evidence.artifact_url == ""


def test_a_base_s_reason_is_no_markdown() -> None:
    told = {"ref": "<b>", "commit": "x", "changes": [], "reason": "`](http://evil) **x**\n# y <script>"}
    texts = files(report([leg(cluster="cvl-a", leg="a", comparison=told)]))
    assert (
        "<script>"
        not in texts[reporting.PAGE].replace("<script>", "", 0).partition("<main>")[2].partition("</main>")[0]
    )
    assert "\n# y" not in texts[reporting.COMMENT]


def test_no_baseline_says_so_and_passes() -> None:
    found = reported(night(), history=[])
    assert found.exit_code == 0
    assert "baseline: no run of the base is known" in markdown.job_summary(found).replace("`", "")


def test_a_base_on_other_hardware_is_refused_by_name() -> None:
    other = runs("x", seconds=100, accuracy=0.9, count=5, commit=BASE, at=NIGHT - DAY, **DIGITS, **ON_GCP)
    mine = runs("y", seconds=100, accuracy=0.9, count=5, commit="c" * 40, at=NIGHT, **DIGITS, **ON_AWS)
    summary = markdown.job_summary(reported(mine, history=other))
    machine = "L4:1 g6.xlarge"
    assert f"the base ran on gcp {machine}, this on aws {machine}: not compared" in summary


PAIRED: dict[str, Any] = {
    "ref": "origin/main",
    "commit": BASE,
    "order": ["head-1", "base-1"],
    "changes": [
        {
            "metric": "time.trial",
            "head": 1.2,
            "base": 1.0,
            "change": 0.2,
            "verdict": "worse",
            "why": "between +17% and +22%",
        },
        {"metric": "accuracy", "head": 0.9, "base": 0.9, "change": 0.0, "verdict": "same", "why": ""},
    ],
    "reason": "",
}


def test_what_ran_in_turn_with_its_base_is_told_by_that() -> None:
    one = leg(cluster="cvl-paired", **DIGITS, **ON_AWS, comparison=PAIRED)
    found = reported([one], history=[])
    assert [(change.metric, change.verdict) for change in found.rows[0].comparison.worse] == [
        ("time.trial", Verdict.WORSE)
    ]
    assert (found.exit_code, reported([one], history=[], policy=ReportPolicy()).exit_code) == (1, 0)
    said = markdown.job_summary(found)
    assert f"`in turn with origin/main ({BASE[:12]}) on the same machine`" in said
    MESSAGES.check("a metric in turn", golden.line(said, "| `time.trial` |"))
    assert "Not compared" not in said
    assert "in turn with origin/main" in files(found)[reporting.PAGE]


@pytest.mark.parametrize(
    "changes",
    [
        "x",
        [1, None, {}],
        [{"metric": "a", "head": "1", "base": 1, "verdict": "worse"}],
        [{"metric": "a", "head": 1, "base": 1e999, "verdict": "worse"}],
        [{"metric": "a", "head": 1, "base": 1, "verdict": "<b>"}],
        [{"metric": ["a"], "head": 1, "base": 1, "verdict": "worse"}],
    ],
)
def test_of_what_makes_no_sense_beside_it_nothing_is_taken(changes: object) -> None:
    assert leg(comparison={**PAIRED, "changes": changes}).measurements.comparison is None
    assert leg(comparison=changes).measurements.comparison is None


def test_nothing_at_all_is_said_to_be_nothing() -> None:
    found = reported([])
    assert found.exit_code == 1
    assert all("No legs were found" in text for text in files(found).values())


# ---- what was not tested ---------------------------------------------------------------------------------------------

OK, TOO = leg(cluster="cvl-a", leg="a"), leg(cluster="cvl-b", leg="name: b, example: b, preset: train", example="b")
NO_MACHINE = read(json.dumps(never_started(75, "No machine was available.", cluster="cvl-c", leg="c")).encode())
BROKEN = leg(cluster="cvl-d", leg="d", ending="failed", exit_code=7, example="d")
LEFT_OUT = "1 not compared, 1 left out of the matrix"
DROPPED = (("x aws/eu-central-1", "No price is known"),)
NOTHING_CHANGED = Expected(because="nothing relevant changed (3 examples, and no file of theirs)")
QUIET, INFRASTRUCTURE_FAILS = ReportPolicy(), ReportPolicy(fail_on_infrastructure=True)


@pytest.mark.parametrize("policy", [QUIET, INFRASTRUCTURE_FAILS], ids=["neutral", "fail"])
@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (([OK, TOO], Expected(legs=("a", "b")), ()), 0, "2 legs, none red"),
        (([], Expected(legs=("a", "b")), ()), 1, "No legs were found, 2 left no summary"),
        (([OK], Expected(legs=("a", "b")), ()), 1, "1 leg, 1 not compared, 1 left no summary"),
        (([OK, BROKEN], Expected(legs=("a", "b", "d")), ()), 1, "1 of 2 legs red, 1 not compared, 1 left no summary"),
        (([NO_MACHINE], Expected(legs=("c",)), ()), 75, "Nothing was measured: "),
        (([NO_MACHINE], Expected(legs=("c", "a")), ()), 1, "Nothing was measured: "),
        (([NO_MACHINE], None, ()), 75, "Nothing was measured: "),
        (([], None, ()), 1, "No legs were found"),
        (([], Expected(), ()), 1, "No legs were found"),
        (([], None, ("cvl-a.json is not JSON",)), 1, "No legs were found, 1 could not be read"),
        (([OK], None, ("cvl-b.json is not JSON",)), 1, "1 leg, 1 not compared, 1 could not be read"),
        (([OK], Expected(legs=("a",)), ("cvl-b.json is not JSON",)), 1, "1 leg, 1 not compared, 1 could not be read"),
        (([], NOTHING_CHANGED, ()), 0, "No leg had to run: nothing relevant changed (3 examples"),
        (([], NOTHING_CHANGED, ("cvl-a.json is not JSON",)), 1, "No legs were found, 1 could not be read"),
        (([], Expected(dropped=DROPPED, on_dropped="fail"), ()), 1, "No legs were found, 1 left out of the matrix"),
        (([], Expected(dropped=DROPPED), ()), 0, "No legs were found, 1 left out of the matrix"),
        (([OK], Expected(legs=("a",), dropped=DROPPED, on_dropped="fail"), ()), 1, f"1 leg, {LEFT_OUT}"),
        (([OK], Expected(legs=("a",), dropped=DROPPED), ()), 0, f"1 leg, none red, {LEFT_OUT}"),
    ],
    ids=[
        "all of N", "0 of N", "some of N", "failed before it could write", "says infrastructure itself",
        "infrastructure and nothing", "infrastructure, nothing expected", "nothing expected and 0 legs",
        "0 legs without a reason", "unreadable alone", "one unreadable", "an unreadable one that was not expected",
        "nothing changed", "nothing changed, and yet a file", "all left out, fail", "all left out, warn",
        "one left out, fail", "one left out, warn",
    ],
)  # fmt: skip
def test_only_what_was_tested_is_green(
    given: tuple[list[Leg], Expected | None, tuple[str, ...]], code: int, said: str, policy: ReportPolicy
) -> None:
    legs, expected, troubles = given
    found = report(legs, expected=expected, troubles=troubles, policy=policy)
    assert found.exit_code == code
    assert row_text.headline(found).startswith(said), row_text.headline(found)
    assert "none red" not in row_text.headline(found) or code == 0 or legs == [NO_MACHINE]


def test_infrastructure_next_to_a_measured_leg_is_neutral_unless_it_shall_fail() -> None:
    both = Expected(legs=("a", "c"))
    assert report([OK, NO_MACHINE], expected=both).exit_code == 0
    assert report([OK, NO_MACHINE], expected=both, policy=INFRASTRUCTURE_FAILS).exit_code == 75


def test_what_was_left_out_stands_in_comment_summary_page_and_data_with_its_reason() -> None:
    found = report([OK], expected=Expected(legs=("a", "b"), dropped=DROPPED))
    texts = files(found)
    for name in (reporting.COMMENT, reporting.SUMMARY, reporting.PAGE, reporting.DATA):
        assert "x aws/eu-central-1" in texts[name] and "No price is known" in texts[name], name
        assert "left no summary" in texts[name], name
    assert any("left no summary: b" in line for line in reporting.as_text(found))
    MESSAGES.check("red by a lost summary", row_text.red_because(found))


def test_a_leg_whose_summary_is_outdated_is_named_once_and_red_until_it_is_measured() -> None:
    expected = Expected(legs=("a", "b"))
    found = report([OK], expected=expected, outdated=[Outdated(name="name: b, gpu: L4", why="it ran *again*")])
    assert (found.exit_code, found.missing) == (1, ())
    MESSAGES.check("an outdated summary", row_text.headline(found))
    texts = files(found)
    for name in (reporting.COMMENT, reporting.SUMMARY):
        assert "> - `name: b, gpu: L4: it ran *again*`" in texts[name]
        assert texts[name].index("it ran") < texts[name].index("| example |"), "in front of what is green"
    assert "it ran *again*" in texts[reporting.PAGE]
    assert "it ran *again*" in row_text.red_because(found)
    assert {*regressions.bad(found)} <= {*regressions.fine(report([OK, TOO], expected=expected))}


def test_a_leg_that_left_no_summary_is_worth_an_issue_until_it_is_measured() -> None:
    bad = regressions.bad(report([OK], expected=Expected(legs=("a", "b"))))
    assert len(bad) == 1
    assert not {*bad} & {*regressions.fine(report([OK], expected=Expected(legs=("a", "b"))))}
    assert {*bad} <= {*regressions.fine(report([OK, TOO], expected=Expected(legs=("a", "b"))))}


# ---- trends --------------------------------------------------------------------------------------------------


def test_a_trend_has_a_point_for_each_night_and_marks_the_odd_one() -> None:
    found = row(reported(night(slow=1.0)), "digits_sgd aws L4:1")
    points = trend("time.running", [*found.comparison.history, *found.legs], nights=14)
    assert len(points) == 7
    assert [point.outlier for point in points] == [False, False, True, False, False, False, False]
    assert len(trend("time.running", [*found.comparison.history, *found.legs], nights=3)) == 3


def test_an_example_that_measures_nothing_itself_has_a_trend_all_the_same() -> None:
    def ours(one: Leg) -> Leg:
        return replace(
            one,
            measurements=replace(
                one.measurements,
                metrics={name: one.measurements.metrics[name] for name in ("time.running", "cost_usd")},
            ),
        )

    bare = [ours(one) for one in [*night(), *history()]]
    found = reported(bare[: len(night())], history=bare[len(night()) :], rules=None)
    said = markdown.job_summary(found)
    assert "time.running</code> over 7 nights" in said
    assert '"telling":"time.running"' in files(found)[reporting.PAGE]


def test_outliers_need_neighbours_and_noise_alone_has_hardly_any() -> None:
    assert outliers([1, 1, 9]) == frozenset()
    assert outliers([5, 5, 5, 5, 5, 5.04]) == frozenset()
    assert outliers([5, 5, 5, 5, 5, 6]) == {5}
    dice = random.Random(1)
    assert sum(len(outliers([dice.gauss(10, 1) for _ in range(14)])) for _ in range(200)) < 30


def test_a_night_s_cost_is_what_was_billed_and_the_sandbox_is_not() -> None:
    legs = [leg(at=NIGHT, cost_usd=2.0), leg(at=NIGHT, cost_usd=3.0, billed=False), leg(at=NIGHT - DAY, cost_usd=1.0)]
    nights = costs(legs, nights=14)
    assert [(one.usd, one.billed_usd, one.legs) for one in nights] == [(1.0, 1.0, 1), (5.0, 2.0, 2)]


# ---- what is written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [reporting.SUMMARY, reporting.COMMENT, reporting.DATA])
def test_a_night_reads_as_in_its_golden_file(name: str) -> None:
    golden.check(f"night_{name}", files(reported())[name])


def test_the_same_legs_in_any_order_give_the_same_bytes() -> None:
    legs, before = [*night(), *failures()], list(history())
    first = files(reported(legs, history=before))
    random.Random(5).shuffle(legs)
    random.Random(6).shuffle(before)
    assert files(reported(legs, history=before)) == first


NASTY = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "| a | b |\n## Title",
    "```\n</details>",
    "@somebody #1 https://evil.example",
    "[x](javascript:alert(1))",
    "\u202e\x1b]0;x\x07\x9b2J",
    '"]\n  line [1]',
    "--> <!-- row:x -->",
    "`` ` ```",
]


def nasty() -> list[Leg]:
    metrics = {f"{text} loss": 1.0 + at for at, text in enumerate(NASTY)}
    good = [
        leg(
            cluster=f"n{trial}",
            example=text,
            preset=NASTY[-at],
            leg=text,
            cloud=text,
            accelerators={text: 1},
            metrics={**metrics, "label": text},
            at=NIGHT + trial * DAY,
        )
        for at, text in enumerate(NASTY)
        for trial in range(at * 6, at * 6 + 6)
    ]
    bad = [
        leg(**never_started(75, text, cluster=f"b{at}{text}", leg=text, released={"gone": at % 2 == 0}))
        for at, text in enumerate(NASTY)
    ]
    return [*good, *bad]


def test_nothing_a_machine_said_becomes_markdown() -> None:
    before = [
        replace(
            one,
            machines=replace(one.machines, cluster=f"h{one.machines.cluster}"),
            source=replace(one.source, at=one.source.at - 60 * DAY),
        )
        for one in nasty()
    ]
    text = files(reported(nasty(), history=before, commits=[]))[reporting.COMMENT]
    html = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(text)
    without_code = re.sub(r"<code[^>]*>.*?</code>", "", html, flags=re.DOTALL)
    assert "<script" not in without_code and "<img" not in without_code and "@" not in without_code
    assert "javascript:" not in without_code and "https://evil" not in without_code
    assert not re.search(r"<h2", html)
    assert html.count("<details>") == html.count("</details>") > 5
    for line in text.splitlines():
        assert not line.startswith("## ")


def test_nothing_a_machine_said_becomes_part_of_the_page() -> None:
    page = files(reported(nasty()))[reporting.PAGE]
    ours = files(reported([]))[reporting.PAGE]
    assert page.count("<script") == ours.count("<script") == 3
    assert page.count("</script>") == 3
    assert page.count("<!--") == 1
    assert "<img" not in page and "\x1b" not in page and "\u202e" not in page
    assert "default-src 'none'" in page


def test_the_page_asks_nothing_of_the_network() -> None:
    page = files(reported())[reporting.PAGE]
    assert not re.search(r"<(?:link|iframe|img|object|embed)\b|\ssrc=|url\(|@import", page)


def test_the_page_keeps_the_plotting_library_s_licence() -> None:
    page = files(reported())[reporting.PAGE]
    assert "Leon Sorokin" in page and "The MIT License" in page


def many_legs(count: int, metrics: int) -> list[Leg]:
    dice = random.Random(9)
    return [
        leg(
            cluster=f"cvl-{at}-{trial}",
            example=f"example_{at:03}",
            metrics={f"m{n:02}.loss": dice.gauss(1, 0.02) for n in range(metrics)},
            reason="x" * 300,
        )
        for at in range(count)
        for trial in range(5)
    ]


def test_500_legs_of_50_metrics_take_seconds_and_fit() -> None:
    legs = many_legs(100, 50)
    before = [
        replace(
            one,
            machines=replace(one.machines, cluster=f"b{one.machines.cluster}"),
            source=replace(one.source, commit=BASE, at=one.source.at - DAY),
        )
        for one in legs
    ]
    began = time.process_time()
    written = files(reported(legs, history=before))
    assert within(time.process_time() - began, 20)
    assert len(written[reporting.COMMENT]) <= COMMENT_BYTES
    assert len(written[reporting.SUMMARY].encode()) <= SUMMARY_BYTES


def test_what_does_not_fit_points_to_the_page() -> None:
    legs = [
        leg(cluster=str(at), example=f"{'long' * 20}{at:03}", metrics={f"{'m' * 90}{n}": n for n in range(50)})
        for at in range(500)
    ]
    written = files(reported(legs, history=[]))
    for name, room in ((reporting.COMMENT, COMMENT_BYTES), (reporting.SUMMARY, SUMMARY_BYTES)):
        assert len(written[name].encode()) <= room
        assert written[name].endswith(f"*Cut to fit. The whole report: {reporting.WHERE}.*\n")
    assert re.search(r"And \d+ more rows, of which 0 are red", written[reporting.COMMENT])
    assert written[reporting.PAGE].count("<tr data-row") == 500
