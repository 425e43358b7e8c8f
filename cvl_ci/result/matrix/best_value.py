"""Mark the machine on which the same result costs least, where it certainly does. Pure.

A mark is a claim, so it needs all of these: the run was billed, nothing of it got worse, its results are as good as on
every other machine, and the next machine costs more by more than the noise of both costs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cvl_ci.model.outcome import Ending
from cvl_ci.result.benchmark.direction import Direction, is_of_the_machine
from cvl_ci.result.benchmark.rules import Rules
from cvl_ci.result.matrix.row import Row

LEAST_DIFFERENCE = 0.05
"""The share by which the next machine costs more at least: prices and boot times vary by as much from day to day."""

_DEVIATIONS = 3.0


def with_best(rows: Sequence[Row], rules: Rules) -> list[Row]:
    """Return the rows, of which at most one of each work is the best."""
    work: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.is_sound and row.cost.billed and row.cost.usd is not None:
            work.setdefault((row.key.example, row.key.preset), []).append(row)
    best: Mapping[tuple[str, str], Row | None] = {key: _best(rows_of_work, rules) for key, rows_of_work in work.items()}
    return [
        replace(row, cost=replace(row.cost, is_best=row is best.get((row.key.example, row.key.preset)))) for row in rows
    ]


def _best(rows: Sequence[Row], rules: Rules) -> Row | None:
    """Return the cheapest row whose results are as good as those of every other row, if its lead is certain."""
    equal = [row for row in rows if not any(_is_worse(row, other, rules) for other in rows if other is not row)]
    first = min(equal, key=_usd, default=None)
    if first is None:
        return None
    rivals = [row for row in rows if row is not first and _usd(row) >= _usd(first)]
    if not rivals:
        return None
    second = min(rivals, key=_usd)
    noise = max(LEAST_DIFFERENCE, _noise(first), _noise(second))
    return first if _usd(second) - _usd(first) > noise * _usd(first) else None


def _usd(row: Row) -> float:
    return row.cost.usd or 0.0


def _is_worse(row: Row, other: Row, rules: Rules) -> bool:
    """Return whether a result of the row is worse than the other row's, beyond the tolerance of its metric."""
    matches = {one.metric: one for one in other.comparison.metrics}
    for one in row.comparison.metrics:
        match = matches.get(one.metric)
        if match is None or not one.gated or is_of_the_machine(one.metric):
            continue
        if isinstance(one.value, int | float) and isinstance(match.value, int | float):
            share = (one.value - match.value) / abs(match.value) if match.value else float(one.value != 0)
            tolerance = rules.of(one.metric).tolerance
            beyond = share if one.direction is Direction.LOWER else -share
            if beyond > tolerance:
                return True
        elif one.value != match.value:
            return True
    return False


def _noise(row: Row) -> float:
    """Return the noise of a row's cost as a share of it: from its own runs and earlier ones on the same machine."""
    legs = [*row.comparison.history, *row.legs]
    costs = [usd for leg in legs if (usd := leg.cost.usd_so_far) and leg.ending is Ending.SUCCEEDED]
    if len(costs) < 2:
        return 0.0
    middle = statistics.median(costs)
    return _DEVIATIONS * 1.4826 * statistics.median(abs(usd - middle) for usd in costs) / middle
