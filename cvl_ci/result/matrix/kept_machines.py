"""Tell of machines that a person keeps after the job: until when, their cost so far, and the most. Pure.

They are not leaks: each ends itself at a known moment. After that moment only a provider could prove the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.units import dollars, moment

KEPT = "Kept for a person, so billed until then"


def is_overdue(leg: Leg, now: float) -> bool:
    """Return whether the time is over for which a person kept the machines. No summary proves their end."""
    return 0.0 < leg.machines.kept_until <= now


def on_time(leg: Leg, now: float) -> Leg:
    """Return the leg; where its time is over, as one whose machines may be left."""
    return replace(leg, machines=replace(leg.machines, kept_until=0.0)) if is_overdue(leg, now) else leg


def lines_of_kept(legs: Iterable[Leg]) -> list[str]:
    return [_line(leg) for leg in legs]


def _line(leg: Leg) -> str:
    """Return one line. A name that cvl-ci did not form is not put into a command to paste."""
    name = leg.machines.cluster
    end = f"cvl-ci down {name}" if re.fullmatch(r"[a-z0-9-]{1,63}", name) else "cvl-ci down --all"
    return f"{leg.name or name} until {moment(leg.machines.kept_until)}: {_cost(leg)}. End it sooner: {end}"


def _cost(leg: Leg) -> str:
    if leg.cost.usd is None or leg.cost.usd_so_far is None:
        return "its cost is not known"
    by_then = f" by {moment(leg.source.at)}" if leg.source.at else ""
    billed = "" if leg.cost.billed else " if it were AWS; nothing is billed"
    return f"{dollars(leg.cost.usd_so_far)}{by_then}, at most {dollars(leg.cost.usd)}{billed}"
