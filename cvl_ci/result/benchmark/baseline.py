"""Choose the baseline of a run: runs of its base commit, or of the nearest ancestor with runs, on like hardware. Pure.

It is not "the last run": the numbers of another pull request are not a baseline. Other hardware is refused by name,
because a faster machine would hide a slower program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvl_ci.model.outcome import Ending
from cvl_ci.result.benchmark.leg import Leg, LegKey

MOST_RUNS = 20
"""The latest runs of one commit, at most this many."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Legs to compare with. `distance`: 0 is the base itself, n its nth ancestor. Without legs, `reason` says why."""

    legs: tuple[Leg, ...] = ()
    commit: str = ""
    distance: int = 0
    reason: str = ""


def choose(key: LegKey, *, commits: Sequence[str], runs_before: Sequence[Leg]) -> Baseline:
    """Return the baseline for a key.

    `commits`: the base and its ancestors, nearest first. If it is empty, all earlier runs belong to the base.
    `runs_before`: the known earlier runs, in any order.
    """
    runs = [leg for leg in runs_before if _same_work(leg.key, key) and leg.ending is Ending.SUCCEEDED]
    like = [leg for leg in runs if alike(leg.key, key)]
    if not commits:
        return Baseline(legs=_latest(like)) if like else Baseline(reason=_why_none(key, runs, commits))
    for distance, commit in enumerate(commits):
        legs = [leg for leg in like if leg.source.commit == commit]
        if legs:
            return Baseline(legs=_latest(legs), commit=commit, distance=distance)
    return Baseline(reason=_why_none(key, [leg for leg in runs if leg.source.commit in commits], commits))


def alike(one: LegKey, other: LegKey) -> bool:
    """Return whether numbers of the two may be compared.

    An unknown driver or image is not a difference. An unknown instance type or number of nodes is not a match.
    """
    return _same_work(one, other) and _is_told(one) and _is_told(other) and not _differences(one, other)


def _is_told(key: LegKey) -> bool:
    return bool(key.instance_type and key.nodes)


def _differences(one: LegKey, other: LegKey) -> list[str]:
    """Return each part of the machine in which the two differ, if both name that part."""
    fixed = {
        "cloud": (one.cloud, other.cloud),
        "accelerator": (one.accelerator, other.accelerator),
        "spot": (one.spot, other.spot),
        "warm machine": (one.warm, other.warm),
    }
    optional = {
        "instance type": (one.instance_type, other.instance_type),
        "number of nodes": (one.nodes, other.nodes),
        "driver": (one.driver, other.driver),
        "image": (one.image, other.image),
    }
    return [
        *(name for name, (value, other_value) in fixed.items() if value != other_value),
        *(name for name, (value, other_value) in optional.items() if value and other_value and value != other_value),
    ]


def _same_work(one: LegKey, other: LegKey) -> bool:
    return (one.example, one.preset) == (other.example, other.preset)


def _latest(legs: Sequence[Leg]) -> tuple[Leg, ...]:
    return tuple(sorted(legs, key=lambda leg: (leg.source.at, leg.machines.cluster))[-MOST_RUNS:])


def _why_none(key: LegKey, runs: Sequence[Leg], commits: Sequence[str]) -> str:
    if runs and not _is_told(key):
        return "this run does not say on which instance type and how many nodes it ran: not compared"
    other_places = sorted({leg.key.place for leg in runs if _differences(leg.key, key)})
    if other_places:
        differ = " and ".join(dict.fromkeys(name for leg in runs for name in _differences(leg.key, key)))
        places = f"{', '.join(other_places[:3])}{' and others' if len(other_places) > 3 else ''}"
        return f"the base ran on {places}, this on {key.place}: not compared, because they differ in {differ}"
    if runs:
        return "the base does not say on which instance type and how many nodes it ran: not compared"
    searched = f"the base or its {len(commits) - 1} nearest ancestors" if len(commits) > 1 else "the base"
    return f"no run of {searched} is known"
