"""A machine that a person keeps is told as kept, with its cost so far and its maximum, and not as a leak."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cvl_ci.commands import report as reporting
from cvl_ci.github.artifacts import reruns
from cvl_ci.local import run_files
from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix import claims, source
from cvl_ci.result.matrix.failures import Failure
from cvl_ci.result.matrix.report import Report, report
from cvl_ci.result.summary import to_json
from tests import golden
from tests.result import outcomes
from tests.result.benchmark.legs import NIGHT, leg

MESSAGES = golden.Messages(__name__)

UNTIL = NIGHT + 1800
RELEASED = {"gone": False, "at": "2026-09-21T14:13:20Z", "asked": [], "kept_until": "2026-09-21T14:43:20Z"}
FAILED = {"ending": "failed", "exit_code": 7, "reason": "The job exited with code 7."}


def kept(**changed: Any) -> Leg:
    released = {**RELEASED, "kept_usd": 0.4, **changed.pop("released", {})}
    return leg(**{**FAILED, "cost_usd": 0.44, "released": released, **changed})


def files(of: Report) -> dict[str, str]:
    return dict(reporting.files(of, assets=run_files.assets(), settings=reporting.Settings()))


def test_the_summary_of_a_kept_run_is_read_as_kept() -> None:
    """The real summary, through the real reader and the line of the history."""
    outcome = outcomes.KEPT
    assert outcome.cost is not None
    read = leg_file.read(json.dumps(to_json(outcome)).encode())
    for one in (read, leg_file.read(leg_file.line(read).encode())):
        assert (one.machines.is_gone, one.machines.may_be_left) == (False, False)
        assert one.cost.usd == outcome.cost.usd
        assert one.cost.usd_so_far == pytest.approx(outcome.cost.usd - 0.016)
        assert one.measured("cost_usd") == pytest.approx((one.cost.usd_so_far,))


def test_it_is_told_with_its_cost_everywhere_and_is_no_leak() -> None:
    found = report([kept()], now=UNTIL - 1)
    assert (found.rows[0].failures.worst, found.exit_code) == (Failure.TEST, 1)
    texts = files(found)
    line = golden.line(reporting.as_text(found), "kept: ")
    MESSAGES.check("a kept machine", line)
    single = line.removeprefix("kept: ").partition(". End it")[0]
    for name in (reporting.PAGE, reporting.SUMMARY, reporting.COMMENT):
        assert single in texts[name]
        assert "cvl-ci down cvl-1-00000001" in texts[name]
        assert "may still be running" not in texts[name]
    [one] = json.loads(texts[reporting.DATA])["kept"]
    assert one == {
        "cluster": "cvl-1-00000001",
        "until": "2026-09-21T14:43:20Z",
        "usd_so_far": pytest.approx(0.04),
        "usd_at_most": 0.44,
        "billed": True,
    }
    data = json.loads(texts[reporting.DATA])
    sums = [data["billed_usd"], found.usd, found.nights[-1].billed_usd]
    assert sums == pytest.approx([0.04] * 3), "so far, in each sum"
    assert data["kept_usd_at_most"] == found.kept_usd == pytest.approx(0.4), "the rest is told next to it"
    assert data["spend"]["usd"] == pytest.approx(0.04)
    assert data["spend"]["kept_usd_at_most"] == pytest.approx(0.4)
    assert "Kept machines may add $0.40 at most." in texts[reporting.PAGE]
    assert "0.04; kept machines may still add $0.40" in texts[reporting.PAGE]
    assert found.rows[0].cost.usd == pytest.approx(0.04)


def test_one_that_succeeded_is_green() -> None:
    assert report([kept(ending="succeeded", exit_code=0)], now=NIGHT).exit_code == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"exit_code": EXIT_NOT_PROVED_GONE},
        {"released": {"kept_until": None}},
        {"released": {"kept_until": "soon"}},
        {"released": {"kept_until": True}},
        {"released": {"kept_until": "2036-09-21T14:43:20Z"}},
        {"released": {"kept_until": "2026-09-21T14:13:20Z"}},
        {"released": {"at": None}},
    ],
)
def test_a_summary_without_proof_of_the_keeping_is_a_leak(changed: Any) -> None:
    found = report([kept(**changed)], now=NIGHT)
    assert (found.exit_code, found.kept_legs) == (EXIT_NOT_PROVED_GONE, ())
    assert "may still be running" in files(found)[reporting.COMMENT]


@pytest.mark.parametrize("now", [UNTIL, UNTIL + 1, None])
def test_after_its_time_it_may_be_left(now: float | None) -> None:
    """Also where the caller knows no time: only a provider could prove that it ended."""
    found = report([kept()]) if now is None else report([kept()], now=now)
    assert found.exit_code == EXIT_NOT_PROVED_GONE
    assert "`cvl-ci down cvl-1-00000001`" in files(found)[reporting.COMMENT]


def test_a_kept_machine_of_an_earlier_attempt_is_told_and_its_failed_job_no_longer_counts() -> None:
    first = kept(job="gpu", leg="a", run_url="https://github.com/o/r/actions/runs/1/attempts/1")
    second = leg(cluster="cvl-2", job="gpu", leg="a", run_url="https://github.com/o/r/actions/runs/1/attempts/2")
    valid = reruns.newest([first, second])
    assert valid == [second]
    superseded = reruns.superseded([first, second], valid)
    found = report(valid, superseded=superseded, now=NIGHT)
    assert (found.exit_code, [one.machines.cluster for one in found.kept_legs]) == (0, ["cvl-1-00000001"])
    assert report(valid, superseded=superseded, now=UNTIL).exit_code == EXIT_NOT_PROVED_GONE


def test_the_proof_of_post_comes_before_the_keeping_of_main() -> None:
    gone = leg(**FAILED, at=NIGHT + 600)
    found = report([kept(), gone], now=NIGHT + 700)
    assert (found.kept_legs, found.rows[0].failures.worst) == ((), Failure.TEST)


def test_a_name_that_cvl_ci_did_not_form_is_no_command_to_paste() -> None:
    hostile = replace(kept(), machines=replace(kept().machines, cluster="x; rm -rf ~"))
    texts = files(report([hostile], now=NIGHT))
    assert all("cvl-ci down x" not in text for text in texts.values())
    assert "cvl-ci down --all" in texts[reporting.COMMENT]


DETACHED = {"ending": "detached", "exit_code": 0, "reason": "The job runs on.", "cost_usd": 0.1}


@pytest.mark.parametrize(
    ("days", "failure"), [(3, Failure.DETACHED), (30, Failure.DETACHED), (40, Failure.MACHINE_LEFT)]
)
def test_a_detached_machine_may_run_as_long_as_the_longest_job(days: int, failure: Failure) -> None:
    until = {"kept_until": NIGHT + days * 86_400}
    assert report([kept(**DETACHED, released=until)], now=NIGHT + 60).rows[0].failures.worst is failure


def test_a_run_that_was_collected_has_its_end_and_its_cost_and_no_second_claim() -> None:
    detached = kept(**DETACHED, released={"kept_until": NIGHT + 86_400})
    for summaries in ([detached, kept_run := leg(cost_usd=40.0, at=NIGHT + 80_000)], [kept_run, detached]):
        assert claims.latest(summaries) == [kept_run]
        assert claims.contradictions(summaries) == []
    assert claims.latest([detached]) == [detached]


def test_each_collected_lease_is_a_step_of_its_own() -> None:
    names = [
        f"cvl-ci-collected-cvl-7-{digest}-cost{again}" for digest in ("0a1b2c3d", "1a1b2c3d") for again in ("", "-2")
    ]
    assert [source.step_of(name) for name in names] == [names[0].removesuffix("-cost")] * 2 + [
        names[2].removesuffix("-cost")
    ] * 2
