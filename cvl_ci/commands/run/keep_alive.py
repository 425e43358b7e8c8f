"""Keep a machine for a person after its job, if it can be labelled, paid for and ended; else release it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cvl_ci.commands.run import spending
from cvl_ci.errors import explain_while_running
from cvl_ci.lease import Lease
from cvl_ci.model.launch import Launch
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.ports import Clock
from cvl_ci.result.units import duration

MARGIN_SECONDS = 150.0
"""SkyPilot counts whole minutes and checks once in each.

Without a timer armed at boot, a machine ends up to this much later.
"""
SHORTEST_SECONDS = 60.0


def keep(
    lease: Lease,
    *,
    plan: RunPlan,
    launch: Launch,
    spent_usd: float,
    clock: Clock,
    say: Callable[[str], None],
    minutes: float | None = None,
    labels: Mapping[str, str] | None = None,
) -> Release | None:
    """Keep it for the minutes of keep_on_failure or `down: false`, or as long as max_cost pays.

    `spent_usd`: on earlier attempts. `minutes`, `labels`: of a service. None: it is not kept, and a message gives the
    reason.
    """
    allowed_minutes = plan.limits.keep_minutes if minutes is None else minutes
    now = clock.now()
    paid = spending.paid_seconds(plan, launch, spent_usd=spent_usd)
    until = min(now + allowed_minutes * 60, launch.created_at + paid - MARGIN_SECONDS)
    if until - now < SHORTEST_SECONDS:
        say("The machine is not kept: max_cost is used up. cvl-ci takes it down.")
        return None
    try:
        release = lease.keep(until=until, public_key=plan.machines.public_key, labels=labels or {})
    except Exception as error:  # noqa: BLE001  after any error: a machine that may not end by itself is never kept
        say(f"The machine could not be kept, so cvl-ci takes it down: {explain_while_running(error)}")
        return None
    if until < now + allowed_minutes * 60 - 1:
        say(f"The machine is kept for {duration(until - now)} only: max_cost does not pay for more.")
    return release
