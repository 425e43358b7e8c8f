"""Hold the limits of a run in time and money."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cvl_ci.model.month import MonthBudget

PROVISIONING_MINUTES = 15.0
"""Allowed from the first machine's creation until the job begins: boot, SkyPilot's runtime, file sync."""


RELEASE_MINUTES = 5.0
"""The minutes after the job for fetching its files and for taking the machine down."""


HEARTBEAT_MINUTES = 10.0
"""The most that a lost runner may cost, in minutes: long enough for a network that is away for a few minutes."""


IDLE_WINDOW_SECONDS = 900.0
"""The default time without use of the GPUs, after which an idle job ends."""


@dataclass(frozen=True, kw_only=True)
class IdlePolicy:
    """The end of a job that leaves its GPUs alone: on a machine, none is as busy as `min_percent` for `seconds`.

    `is_neutral`: this end is not red.
    """

    min_percent: int
    seconds: float = IDLE_WINDOW_SECONDS
    is_neutral: bool = False


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits after which a run ends in every case.

    `max_runtime_minutes` covers setup and run on the machine. `max_cost_usd` is for the whole run, every node,
    provisioning included.
    """

    max_runtime_minutes: float = 60.0
    max_cost_usd: float | None = None
    provisioning_minutes: float = PROVISIONING_MINUTES
    """The minutes from the request for machines to the beginning of the job; then the run gives up."""

    heartbeat_minutes: float = HEARTBEAT_MINUTES
    """The machine ends itself this many minutes after the last heartbeat; 0: only at its deadline."""

    keep_minutes: float = 0.0
    """The minutes for which the machine of a failed job is kept for a person; 0: not at all."""

    keeps_after_success: bool = False
    """Whether the machine of a job that succeeded is kept too."""

    idle: IdlePolicy | None = None
    """None: a job may leave its GPUs alone until its time limit."""

    month: MonthBudget | None = None
    """The repository's budget of this month, with the part that its history knows; None: there is no such budget."""

    @property
    def set_up_minutes(self) -> float:
        """Return the minutes from a machine's request to its own end if its runner is lost meanwhile.

        0: without a heartbeat, it ends at its deadline alone.
        """
        return self.provisioning_minutes + self.heartbeat_minutes if self.heartbeat_minutes else 0.0

    @property
    def longest_minutes(self) -> float:
        """Return the minutes from the first machine's creation to its end, with no budget.

        They cover provisioning, job, fetch and release.
        """
        return self.provisioning_minutes + self.max_runtime_minutes + RELEASE_MINUTES

    def deadline_minutes(self, *, hourly_usd: float) -> float:
        """Return the minutes from the first machine's creation to its end. `hourly_usd` is for all nodes together."""
        return min(self.longest_minutes, self.paid_minutes(hourly_usd=hourly_usd))

    def paid_minutes(self, *, hourly_usd: float) -> float:
        """Return the minutes that max_cost pays for; infinite without max_cost."""
        if self.max_cost_usd is None or hourly_usd <= 0:
            return math.inf
        return self.max_cost_usd / hourly_usd * 60
