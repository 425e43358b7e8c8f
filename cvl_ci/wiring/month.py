"""The repository's budget of the month: from its cvl-ci.yml and its history branch. It asks the remote."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.local.clock import SystemClock
from cvl_ci.planning import safe_yaml
from cvl_ci.result.benchmark import rules

if TYPE_CHECKING:
    from cvl_ci.model.month import MonthBudget
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.ports import Checkout

REMOTE = "origin"


def within_month(plan: RunPlan, checkout: Checkout, environ: Mapping[str, str]) -> RunPlan:
    """Return the plan with the budget of its repository. The sandbox bills nothing, so its runs have none."""
    if plan.machines.is_on_sandbox:
        return plan
    return replace(plan, limits=replace(plan.limits, month=month_budget(checkout, environ)))


def month_budget(checkout: Checkout, environ: Mapping[str, str]) -> MonthBudget | None:
    """Return the budget with the sums of this month's runs; None without a budget. Raise RequestError for a wrong file.

    A history that git cannot read is a `problem` of the result: a plan may still be shown.
    """
    try:
        content = checkout.read(rules.FILE_NAME, limit=safe_yaml.LARGEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise RequestError([InputProblem(field=rules.FILE_NAME, value="", problem=problem)]) from None
    settings = rules.read(content)
    if settings.monthly_budget_usd is None:
        return None
    from cvl_ci.local.git.history import HistoryBranch
    from cvl_ci.model.month import MonthBudget, first_moment
    from cvl_ci.result.matrix.spend import spend
    from cvl_ci.result.matrix.trends import day

    clock = SystemClock()
    now = clock.now()
    budget = MonthBudget(
        limit_usd=settings.monthly_budget_usd, month=day(now).rpartition("-")[0], branch=settings.history_branch
    )
    dice = random.Random()  # noqa: S311  it only names a ref of this process
    try:
        branch = HistoryBranch(
            checkout.root, remote=REMOTE, branch=budget.branch, clock=clock, dice=dice, environ=environ
        )
        legs = branch.read()
    except CvlError as error:
        return replace(budget, problem=error.what)
    if not legs:
        return budget
    total = spend(legs, since=first_moment(now))
    return replace(budget, spent_usd=total.usd, kept_usd=total.kept_usd, runs=total.runs, unpriced=total.unknown)
