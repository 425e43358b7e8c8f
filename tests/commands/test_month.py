"""The repository's budget of the month: refused before anything is spent, from the history that is known. Real git."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from cvl_ci import SkyPilotRunner, wiring
from cvl_ci.cli.main import main
from cvl_ci.commands.plan import month
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.plan.quote_text import as_json, as_text
from cvl_ci.errors import BudgetError, CvlError, RequestError
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.git.history import HistoryBranch
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.month import MonthBudget, first_moment, next_month
from cvl_ci.model.offer import Quote
from cvl_ci.model.plan import RunPlan
from cvl_ci.result.benchmark.leg import Leg
from tests import golden
from tests.commands.test_plan import PRICES
from tests.commands.test_run import PLAN
from tests.result.benchmark.legs import leg
from tests.support.field import plant, run_git
from tests.support.git import git

MESSAGES = golden.Messages(__name__)

NOW = SystemClock().now()
MONTH = datetime.fromtimestamp(NOW, tz=timezone.utc).strftime("%Y-%m")
BUDGET = MonthBudget(limit_usd=10.0, month="2026-11", branch="cvl-ci-history", spent_usd=7.0, kept_usd=1.0, runs=3)


def quoted(usd: float | None) -> Quote:
    return Quote(
        offers=(), hourly_usd=usd, first_usd=usd, dearest_usd=usd, max_usd=usd, deadline_minutes=60, catalogue_date=""
    )


def of(budget: MonthBudget | None, *, cloud: str = "aws") -> RunPlan:
    machines = replace(PLAN.machines, locations=(Location(cloud=cloud),))
    return replace(PLAN, machines=machines, limits=replace(PLAN.limits, month=budget))


@pytest.mark.parametrize(("usd", "fits"), [(2.0, True), (2.01, False), (None, False)])
def test_a_run_fits_if_its_bound_fits_next_to_what_is_spent_and_kept(usd: float | None, fits: bool) -> None:
    if fits:
        assert month.checked(of(BUDGET), quoted(usd)) == ()
        return
    with pytest.raises(BudgetError) as refused:
        month.checked(of(BUDGET), quoted(usd))
    assert refused.value.exit_code == 78
    MESSAGES.check("money", refused.value.money)
    if usd is not None:
        MESSAGES.check("over the budget", str(refused.value))


def test_no_budget_and_the_sandbox_refuse_nothing() -> None:
    assert month.checked(of(None), quoted(1e6)) == ()
    assert month.checked(of(replace(BUDGET, problem="no answer"), cloud=SANDBOX), quoted(1e6)) == ()
    month.require_known(of(replace(BUDGET, problem="no answer"), cloud=SANDBOX))


def test_a_missing_history_is_told_and_an_unreadable_one_lets_no_run_start() -> None:
    unknown = replace(BUDGET, spent_usd=None, kept_usd=0.0, runs=0)
    [told] = month.checked(of(unknown), quoted(9.0))
    MESSAGES.check("no history", told)
    month.require_known(of(unknown))
    with pytest.raises(BudgetError, match=r"may cost \$10.01"):
        month.checked(of(unknown), quoted(10.01))
    unreadable = replace(unknown, problem="git failed.")
    [told] = month.checked(of(unreadable), quoted(9.0))
    MESSAGES.check("an unreadable history", told)
    with pytest.raises(BudgetError, match="cannot be held"):
        month.require_known(of(unreadable))
    [told] = month.checked(of(replace(BUDGET, unpriced=2)), quoted(1.0))
    MESSAGES.check("runs without a cost", told)


def test_months_end_in_december_too() -> None:
    assert (next_month("2026-11"), next_month("2026-12")) == ("2026-12-01", "2027-01-01")
    at = datetime(2026, 11, 29, 23, 59, tzinfo=timezone.utc).timestamp()
    assert first_moment(at) == datetime(2026, 11, 1, tzinfo=timezone.utc).timestamp()


# ---- from cvl-ci.yml and the branch of history ---------------------------------------------------------------------


def repository(folder: Path, legs: Sequence[Leg] | None, settings: str = "monthly_budget: 10\n") -> Path:
    """A checkout with a remote. `legs` None: without the branch of history."""
    root = plant(folder / "field")
    git(folder, "init", "-q", "--bare", "remote.git")
    run_git(root, "remote", "add", "origin", str(folder / "remote.git"))
    (root / "cvl-ci.yml").write_text(settings)
    if legs is not None:
        branch = HistoryBranch(
            root, remote="origin", branch="cvl-ci-history", clock=SystemClock(), dice=random.Random(1)
        )
        branch.append(legs)
    return root


def spent(usd: float, *, name: str = "cvl-1-00000001", at: float = NOW, **more: object) -> Leg:
    return leg(cluster=name, at=at, cost_usd=usd, cloud="aws", **more)


def planned(root: Path, **inputs: object) -> RunPlan:
    checkout = open_checkout(root)
    given = {"example": "plain", "cloud": "aws", **inputs}
    plan = prepare(from_keywords(given, environment={}), checkout=checkout, prices=PRICES)
    return wiring.within_month(plan, checkout, {})


def test_the_sum_is_of_this_month_s_billed_runs_alone(tmp_path: Path) -> None:
    legs = [
        spent(4.0),
        spent(2.5, name="cvl-2-00000002", released={"gone": False, "kept_usd": 0.5}),
        spent(40.0, name="cvl-3-00000003", at=first_moment(NOW) - 1),
        spent(40.0, name="cvl-4-00000004", billed=False),
        leg(cluster="cvl-5-00000005", at=NOW, cost_usd=None, cloud="aws"),
    ]
    plan = planned(repository(tmp_path, legs))
    assert plan.limits.month == MonthBudget(
        limit_usd=10.0, month=MONTH, branch="cvl-ci-history", spent_usd=6.0, kept_usd=0.5, runs=2, unpriced=1
    )
    found = quote(plan, PRICES)
    told = golden.line(as_text(plan, found, PRICES), "monthly_budget:")
    MESSAGES.check("the plan", told.replace(MONTH, "MONTH"))
    assert json.loads(as_json(plan, found))["monthly_budget"] == {
        "month": MONTH,
        "limit_usd": 10.0,
        "spent_usd": 6.0,
        "kept_usd_at_most": 0.5,
        "runs": 2,
        "runs_without_cost": 1,
    }


def test_plan_run_and_the_library_refuse_alike_and_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = repository(tmp_path, [spent(9.95)])
    for name, value in {"HOME": str(tmp_path / "home"), "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(root)
    for verb in (["plan"], ["run"], ["run", "--estimate-cost"]):
        assert main([*verb, "plain", "--cloud", "aws"]) == 78
        told = capsys.readouterr().err
        assert "monthly_budget leaves $0.05" in told and "Nothing was started" in told, verb
    runner = SkyPilotRunner(checkout=root, outputs=tmp_path / "out", cloud="aws")
    with pytest.raises(BudgetError, match="monthly_budget leaves"):
        runner.estimate("true")
    with pytest.raises(BudgetError, match="monthly_budget leaves"):
        runner.run("true")
    with pytest.raises(BudgetError, match="monthly_budget leaves"):
        runner.queue([{"id": "a", "command": "true"}])
    assert main(["matrix", "plain", "--presets", "train", "--clouds", "aws,sandbox", "--on-dropped", "fail"]) == 78
    printed = capsys.readouterr()
    assert "and $0.05 of monthly_budget remains" in printed.err
    assert [one["cloud"] for one in json.loads(printed.out)["include"]] == ["sandbox"], "it bills nothing"
    assert not (tmp_path / "out").exists()


def test_without_the_branch_it_is_told_and_without_a_remote_no_run_starts(tmp_path: Path) -> None:
    root = repository(tmp_path, None)
    plan = planned(root)
    assert plan.limits.month == MonthBudget(limit_usd=10.0, month=MONTH, branch="cvl-ci-history")
    assert any("has no runs" in one for one in quote(plan, PRICES).warnings)
    run_git(root, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    plan = planned(root)
    assert any("a run would be refused" in one for one in quote(plan, PRICES).warnings)
    with pytest.raises(BudgetError, match="cannot be held"):
        month.require_known(plan)


def test_no_setting_asks_nobody_and_a_wrong_one_is_one_clear_error(tmp_path: Path) -> None:
    root = repository(tmp_path, None, settings="tolerance: 5%\n")
    run_git(root, "remote", "set-url", "origin", "/nowhere")
    assert planned(root).limits.month is None
    (root / "cvl-ci.yml").write_text("monthly_budget: lots\nhistory_branch: '--upload-pack=x'\nmonthly_bugdet: 3\n")
    with pytest.raises(RequestError) as wrong:
        planned(root)
    MESSAGES.check("wrong settings", str(wrong.value))
    assert isinstance(wrong.value, CvlError)
