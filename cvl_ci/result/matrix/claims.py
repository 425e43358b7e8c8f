"""Settle which of several summaries tells the end of one run. Pure.

Main and post of one step may both write a summary of a run, and they agree on its end. Summaries that disagree were
copied or forged: any job of the workflow run can upload an artifact.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE, Ending
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix.failures import Failure, failure

_ORDER = [*Failure, None]


def latest(legs: Iterable[Leg]) -> list[Leg]:
    """Return one leg for each run: the later of two summaries, which may hold the proof.

    Of summaries that disagree, those with the worst end come first, so that a forged one hides no failure. A sweep adds
    its proof and its cost, and its end only where the run has told none.
    """
    return sorted(
        (_with_sweeps(group) for group in _runs(legs)), key=lambda leg: (leg.source.at, leg.machines.cluster, leg.name)
    )


def contradictions(legs: Iterable[Leg]) -> list[str]:
    """Return a line for each run whose summaries disagree on its end or on its leg."""
    own_summaries = (leg for leg in legs if not leg.source.is_sweep)
    groups = [group for group in _runs(own_summaries) if len({_claim(leg) for leg in group}) > 1]
    return [f"{group[0].machines.cluster}: {len(group)} summaries disagree: {_ends(group)}" for group in groups]


def _runs(legs: Iterable[Leg]) -> list[list[Leg]]:
    groups: dict[str, list[Leg]] = {}
    for place, leg in enumerate(legs):
        groups.setdefault(leg.machines.cluster or f"#{place}", []).append(leg)
    return [_over(group) for group in groups.values()]


def _over(group: list[Leg]) -> list[Leg]:
    """Return the summaries that tell an end. That a run was detached tells none, once it was collected."""
    return [leg for leg in group if leg.ending is not Ending.DETACHED] or group


def _with_sweeps(group: Sequence[Leg]) -> Leg:
    summaries = [leg for leg in group if not leg.source.is_sweep]
    sweeps = sorted((leg for leg in group if leg.source.is_sweep), key=lambda leg: leg.source.at)
    return functools.reduce(_with_sweep, sweeps, _last(summaries or group))


def _with_sweep(leg: Leg, sweep: Leg) -> Leg:
    """Add a sweep's proof, and its cost if that is larger: the machine may have run on after the run's summary."""
    if sweep.source.at >= leg.source.at:
        leg = replace(leg, machines=replace(leg.machines, is_gone=sweep.machines.is_gone, kept_until=0.0))
    if (sweep.cost.usd_so_far or 0.0) <= (leg.cost.usd_so_far or 0.0):
        return leg
    return replace(leg, cost=replace(leg.cost, usd=sweep.cost.usd, kept_usd=sweep.cost.kept_usd))


def _last(group: Sequence[Leg]) -> Leg:
    worst = min((_kind(leg) for leg in group), key=_ORDER.index)
    latest_first = sorted(group, key=lambda leg: (leg.source.at, leg.machines.is_gone))
    last = next(leg for leg in reversed(latest_first) if _kind(leg) is worst)
    if _tells_why(last):
        return last
    # Only main reads the job's lines; post writes the later summary without them.
    main = next((leg for leg in group if _kind(leg) is worst and _tells_why(leg)), last)
    url = last.evidence.artifact_url or main.evidence.artifact_url
    return replace(last, evidence=replace(main.evidence, artifact_url=url))


def _tells_why(leg: Leg) -> bool:
    return bool(leg.evidence.first_error or leg.evidence.last_lines)


def _kind(leg: Leg) -> Failure | None:
    """Return the kind of failure, whether or not a machine was left: only that may change between two summaries."""
    return failure(replace(leg, machines=replace(leg.machines, is_gone=True)))


def _claim(leg: Leg) -> tuple[str, str, Failure | None]:
    """Return the facts on which all summaries of a run agree. An unproved release replaces the exit code."""
    kind = None if leg.exit_code == EXIT_NOT_PROVED_GONE else _kind(leg)
    return leg.name, leg.ending.value, kind


def _ends(group: Sequence[Leg]) -> str:
    return ", ".join(dict.fromkeys(f"{leg.name or 'no leg'} {leg.ending.value}".replace("_", " ") for leg in group))
