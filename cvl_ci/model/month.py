"""Hold the money that a repository allows itself in a calendar month, and the part that its history knows. Values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass(frozen=True, kw_only=True)
class MonthBudget:
    """`monthly_budget` of cvl-ci.yml, and the cost of this month's runs, in US dollars.

    `month`: such as 2026-11, in UTC. `branch`: the branch of history. `spent_usd`: the cost so far of its runs of this
    month; None: there is no history, or, with a `problem`, it cannot be read. `kept_usd`: the most that kept
    machines may add. `unpriced`: runs of this month that had a machine and name no cost.
    """

    limit_usd: float
    month: str
    branch: str
    spent_usd: float | None = None
    kept_usd: float = 0.0
    runs: int = 0
    unpriced: int = 0
    problem: str = ""

    @property
    def remaining_usd(self) -> float:
        """Return the dollars for further runs, as far as the history knows."""
        return max(0.0, self.limit_usd - (self.spent_usd or 0.0) - self.kept_usd)


def first_moment(at: float) -> float:
    """Return the beginning of the month, UTC, in which this moment lies; both in epoch seconds."""
    now = datetime.fromtimestamp(at, tz=timezone.utc)
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def next_month(month: str) -> str:
    """Return `2026-12-01`, the first day after `2026-11`."""
    year, number = map(int, month.split("-"))
    return f"{year + number // 12}-{number % 12 + 1:02}-01"
