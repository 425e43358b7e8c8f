"""What a run is compared with: runs of its base commit or of the nearest ancestor that has any, on like hardware. Pure.

Not "the last run": another pull request's numbers are nobody's baseline. And never other hardware: that is refused by
name, for a faster machine would hide what got slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvl_ci.model.outcome import Ending
from cvl_ci.result.benchmark.leg import Key, Leg

MOST_RUNS = 20
"""Of one commit, the latest."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """`distance`: 0 is the base itself, n its nth ancestor. No legs: `reason` says why."""

    legs: tuple[Leg, ...] = ()
    commit: str = ""
    distance: int = 0
    reason: str = ""


def choose(key: Key, *, commits: Sequence[str], found: Sequence[Leg]) -> Baseline:
    """`commits`: the base and its ancestors, nearest first; none given, all of `found` are the base's. `found`: what is
    known of earlier runs, in any order."""
    runs = [leg for leg in found if _same_work(leg.key, key) and leg.ending is Ending.SUCCEEDED]
    like = [leg for leg in runs if alike(leg.key, key)]
    if not commits:
        return Baseline(legs=_latest(like)) if like else Baseline(reason=_why_none(key, runs, commits))
    for distance, commit in enumerate(commits):
        legs = [leg for leg in like if leg.commit == commit]
        if legs:
            return Baseline(legs=_latest(legs), commit=commit, distance=distance)
    return Baseline(reason=_why_none(key, [leg for leg in runs if leg.commit in commits], commits))


def alike(one: Key, other: Key) -> bool:
    """Return whether numbers of the two may be compared. An unknown driver or image is no difference; an unknown
    instance type or number of nodes is no match."""
    return _same_work(one, other) and _is_told(one) and _is_told(other) and not _differences(one, other)


def _is_told(key: Key) -> bool:
    return bool(key.instance_type and key.nodes)


def _differences(one: Key, other: Key) -> list[str]:
    """Name each part of the machine in which the two differ, as far as both name it."""
    fixed = {
        "cloud": (one.cloud, other.cloud),
        "accelerator": (one.accelerator, other.accelerator),
        "spot": (one.spot, other.spot),
    }
    known = {
        "instance type": (one.instance_type, other.instance_type),
        "number of nodes": (one.nodes, other.nodes),
        "driver": (one.driver, other.driver),
        "image": (one.image, other.image),
    }
    return [
        *(name for name, (mine, theirs) in fixed.items() if mine != theirs),
        *(name for name, (mine, theirs) in known.items() if mine and theirs and mine != theirs),
    ]


def _same_work(one: Key, other: Key) -> bool:
    return (one.example, one.preset) == (other.example, other.preset)


def _latest(legs: Sequence[Leg]) -> tuple[Leg, ...]:
    return tuple(sorted(legs, key=lambda leg: (leg.at, leg.cluster))[-MOST_RUNS:])


def _why_none(key: Key, runs: Sequence[Leg], commits: Sequence[str]) -> str:
    if runs and not _is_told(key):
        return "this run does not say on which instance type and how many nodes it ran: cannot tell, so not compared"
    others = sorted({leg.key.place for leg in runs if _differences(leg.key, key)})
    if others:
        differ = " and ".join(dict.fromkeys(name for leg in runs for name in _differences(leg.key, key)))
        shown = f"{', '.join(others[:3])}{' and others' if len(others) > 3 else ''}"
        return f"the base ran on {shown}, this on {key.place}: not compared, for they differ in {differ}"
    if runs:
        return "the base does not say on which instance type and how many nodes it ran: cannot tell, so not compared"
    searched = f"the base or its {len(commits) - 1} nearest ancestors" if len(commits) > 1 else "the base"
    return f"no run of {searched} is known"
