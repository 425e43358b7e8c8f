"""A thousand runs with max_cost and wrong quotes, failovers, kept machines, several nodes and disks of 16 TB."""

from __future__ import annotations

from tests.support.budget_trials import SEEDS, trials


def test_no_run_costs_more_than_max_cost() -> None:
    assert [(seed, one) for seed, one in enumerate(trials()) if one.excess > 1e-9 * one.max_cost] == []


def test_the_runs_differ_as_the_table_says() -> None:
    """A thousand refused runs would prove nothing."""
    those = trials()
    assert len(those) == SEEDS
    assert sum(one.metered > 0 for one in those) > SEEDS / 2
    assert sum(one.metered > 0.9 * one.max_cost for one in those) > 50, "many runs use their money up"
    assert sum(one.attempts > 1 for one in those) > 200
    assert sum(one.is_kept for one in those) > 10
    assert sum(one.is_killed and one.metered > 0 for one in those) > 50
    assert min(one.factor for one in those) < 0.004 and max(one.factor for one in those) > 25
