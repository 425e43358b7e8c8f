"""Sum the cost of runs over time: by day, workflow, job, example and cloud. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix.claims import latest
from cvl_ci.result.matrix.trends import day
from cvl_ci.result.units import dollars

NO_NAME = "(none)"


@dataclass(frozen=True, kw_only=True)
class Spend:
    """The dollars of all billed runs since a moment, kept machines until their summary.

    `unknown`: runs that had a machine and name no cost. `kept_usd`: the most that kept machines may add to `usd`.
    """

    usd: float
    kept_usd: float
    runs: int
    unknown: int
    by: Mapping[str, Mapping[str, float]]
    """Dollars by name, for each name of `KEYS`: days in order, the others by their dollars."""


def spend(legs: Iterable[Leg], *, since: float) -> Spend:
    """Return the sums over the runs that ended at or after `since`. The sandbox bills nothing, so it is left out."""
    runs = [leg for leg in latest(legs) if leg.source.at >= since and leg.cost.billed]
    with_price = [leg for leg in runs if leg.cost.usd is not None or leg.cost.uncounted_usd]
    return Spend(
        usd=sum(leg.cost.spent_usd for leg in with_price),
        kept_usd=sum(leg.cost.kept_usd for leg in with_price),
        runs=len(with_price),
        unknown=sum(1 for leg in runs if leg.cost.usd is None and leg.machines.region),
        by={name: _sums(with_price, key, in_time=name == "day") for name, key in KEYS.items()},
    )


def as_json(total: Spend) -> str:
    return json.dumps(as_mapping(total), indent=2, ensure_ascii=False)


def as_mapping(total: Spend) -> Mapping[str, object]:
    """Return the sums for a program: always these keys."""
    return {
        "usd": round(total.usd, 6),
        "kept_usd_at_most": round(total.kept_usd, 6),
        "runs": total.runs,
        "runs_without_cost": total.unknown,
        "by": {name: {key: round(usd, 6) for key, usd in sums.items()} for name, sums in total.by.items()},
    }


def as_text(total: Spend, *, since: str) -> list[str]:
    """Return the tables for a person."""
    lines = heading(total, since=since)
    for name, sums in total.by.items():
        width = max((len(displayed(key)) for key in sums), default=0)
        table = [f"  {displayed(key):<{width}}  {dollars(usd):>9}" for key, usd in sums.items()]
        lines += ["", name, *table] if table else []
    return lines


def heading(total: Spend, *, since: str = "") -> list[str]:
    """Return the sum, and a line for each thing that the sum lacks."""
    after = f" since {since}" if since else ""
    lines = [f"{dollars(total.usd)} in {total.runs} run{'' if total.runs == 1 else 's'}{after}."]
    if total.unknown:
        lines.append(f"{total.unknown} more had a machine and name no cost.")
    if total.kept_usd:
        lines.append(f"Kept machines may add {dollars(total.kept_usd)} at most.")
    return lines


def _sums(legs: Sequence[Leg], key: Callable[[Leg], str], *, in_time: bool) -> Mapping[str, float]:
    sums: dict[str, float] = {}
    for leg in legs:
        name = key(leg) or NO_NAME
        sums[name] = sums.get(name, 0.0) + leg.cost.spent_usd
    return dict(sorted(sums.items()) if in_time else sorted(sums.items(), key=lambda pair: (-pair[1], pair[0])))


def displayed(name: str) -> str:
    """Return the name as one short line: a summary can hold any text."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:60]


KEYS: Mapping[str, Callable[[Leg], str]] = {
    "day": lambda leg: day(leg.source.at),
    "workflow": lambda leg: leg.source.workflow,
    "job": lambda leg: leg.source.job,
    "example": lambda leg: " ".join(part for part in (leg.key.example, leg.key.preset) if part),
    "cloud": lambda leg: leg.key.cloud,
}
