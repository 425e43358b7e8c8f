"""Hold a run to the repository's budget of the month: refuse a run that could exceed it, and tell the sums. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from cvl_ci.errors import BudgetError
from cvl_ci.model.month import MonthBudget, next_month
from cvl_ci.model.offer import Quote
from cvl_ci.model.plan import RunPlan
from cvl_ci.result.units import dollars


def checked(plan: RunPlan, quote: Quote) -> tuple[str, ...]:
    """Return the warnings about the month's sum. Raise BudgetError if the run may cost more than the month has left.

    The sandbox bills nothing, so its runs are never refused.
    """
    month = plan.limits.month
    if month is None or plan.machines.is_on_sandbox:
        return ()
    if quote.max_usd is None:
        raise BudgetError(
            f"No price is known for this run, so monthly_budget {dollars(month.limit_usd)} cannot be held.",
            next_step="Give another cloud, region or GPU, or remove monthly_budget from cvl-ci.yml.",
        )
    if quote.max_usd > month.remaining_usd + 1e-9:
        raise BudgetError(
            f"This run may cost {dollars(quote.max_usd)}, and monthly_budget leaves {dollars(month.remaining_usd)}: "
            f"{describe(month)}.",
            next_step=f"{_smaller(month)}raise monthly_budget in cvl-ci.yml, or wait until {next_month(month.month)}.",
        )
    return warnings(month)


def require_known(plan: RunPlan) -> None:
    """Raise BudgetError if the history of the month cannot be read: a run would start without its sum."""
    month = plan.limits.month
    if month is not None and month.problem and not plan.machines.is_on_sandbox:
        raise BudgetError(
            f"monthly_budget {dollars(month.limit_usd)} cannot be held: {_unreadable(month)}",
            next_step="Let git read that branch of the remote (in a workflow: actions/checkout with its token), "
            "or remove monthly_budget from cvl-ci.yml.",
        )


def describe(month: MonthBudget) -> str:
    """Return `$312.40 of $500.00 in 2026-11 is spent, by 41 runs in cvl-ci-history`."""
    limit = f"{dollars(month.limit_usd)} in {month.month}"
    if month.spent_usd is None:
        return f"nothing is known about the cost of earlier runs, of {limit}"
    runs = f"{month.runs} run{'' if month.runs == 1 else 's'} in {month.branch}"
    kept_text = f"; kept machines may add {dollars(month.kept_usd)}" if month.kept_usd else ""
    return f"{dollars(month.spent_usd)} of {limit} is spent, by {runs}{kept_text}"


def as_json(plan: RunPlan) -> Mapping[str, object] | None:
    """Return the budget and the sums for a program; None without a budget."""
    month = plan.limits.month
    if month is None:
        return None
    return {
        "month": month.month,
        "limit_usd": month.limit_usd,
        "spent_usd": None if month.spent_usd is None else round(month.spent_usd, 6),
        "kept_usd_at_most": round(month.kept_usd, 6),
        "runs": month.runs,
        "runs_without_cost": month.unpriced,
    }


def warnings(month: MonthBudget) -> tuple[str, ...]:
    """Return what the sum against the budget lacks."""
    if month.problem:
        return (f"monthly_budget is held against this run alone, and a run would be refused: {_unreadable(month)}",)
    if month.spent_usd is None:
        text = (
            f"monthly_budget is held against this run alone: the branch {month.branch} has no runs, so the cost of "
            f"{month.month} is unknown. `cvl-ci history` fills it."
        )
        return (text,)
    if month.unpriced:
        runs = f"{month.unpriced} run{'' if month.unpriced == 1 else 's'}"
        return (f"{runs} of {month.month} had a machine and name no cost: the sum against monthly_budget lacks them.",)
    return ()


def _unreadable(month: MonthBudget) -> str:
    return f"the history in {month.branch} could not be read. {month.problem}"


def _smaller(month: MonthBudget) -> str:
    return f"Give max_cost {month.remaining_usd:.2f} or less, " if month.remaining_usd >= 0.01 else "Please "
