"""Settle which of several summaries tells the end of one run. Pure.

Main and post of one step may both write a summary of a run, and they agree on its end. Summaries that disagree were
copied or forged: any job of the workflow run can upload an artifact.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE, Ending
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix.failures import Failure, failure

_ORDER = [*Failure, None]


def latest(legs: Iterable[Leg]) -> list[Leg]:
    """Return one leg for each run: the later of two summaries, which may hold the proof.

    Of summaries that disagree, those with the worst end come first, so that a forged one hides no failure. A sweep adds
    its proof and its cost, and its end only where the run has told none. Runs that used the same machines in turn are
    several: together they count each second of the machines once.
    """
    leases = _grouped(legs, lambda leg: leg.machines.cluster)
    return sorted(
        (leg for group in leases for leg in _of_lease(_over(group))),
        key=lambda leg: (leg.source.at, leg.machines.cluster, leg.machines.use, leg.name),
    )


def contradictions(legs: Iterable[Leg]) -> list[str]:
    """Return a line for each run whose summaries disagree on its end or on its leg."""
    own_summaries = (leg for leg in legs if not leg.source.is_sweep)
    runs = map(_over, _grouped(own_summaries, lambda leg: leg.machines.run))
    groups = [group for group in runs if len({_claim(leg) for leg in group}) > 1]
    return [f"{group[0].machines.cluster}: {len(group)} summaries disagree: {_ends(group)}" for group in groups]


def _grouped(legs: Iterable[Leg], name: Callable[[Leg], str]) -> list[list[Leg]]:
    """Return the legs of each name, in order. A leg without a name stands alone."""
    groups: dict[str, list[Leg]] = {}
    for place, leg in enumerate(legs):
        groups.setdefault(name(leg) or f"#{place}", []).append(leg)
    return list(groups.values())


def _over(group: list[Leg]) -> list[Leg]:
    """Return the summaries that tell an end. That a run was detached tells none, once it was collected."""
    return [leg for leg in group if leg.ending is not Ending.DETACHED] or group


def _of_lease(group: Sequence[Leg]) -> list[Leg]:
    """Return the runs under one lease, in the order in which they used its machines. A sweep follows the last one."""
    sweeps = sorted((leg for leg in group if leg.source.is_sweep), key=lambda leg: leg.source.at)
    summaries = [leg for leg in group if not leg.source.is_sweep] or sweeps
    runs = sorted(_grouped(summaries, lambda leg: leg.machines.run), key=lambda run: run[0].machines.use)
    *earlier, last = _settled([_last(run) for run in runs])
    counted_usd = sum(leg.cost.usd_so_far or 0.0 for leg in earlier)
    for sweep in sweeps:
        last = _with_sweep(last, sweep, counted_usd=counted_usd)
    return [*earlier, last]


def _settled(runs: Sequence[Leg]) -> list[Leg]:
    """Return the runs, each with the real cost of the wait that the next run ended, and not with the longest.

    The machines of an earlier run go on in the next one, which tells their end.
    """
    settled = list(runs)
    for place, (leg, following) in enumerate(itertools.pairwise(runs)):
        is_next = leg.machines.use + 1 == following.machines.use
        if is_next and not leg.machines.is_gone and leg.exit_code != EXIT_NOT_PROVED_GONE:
            usd = None if leg.cost.usd is None else (leg.cost.usd_so_far or 0.0) + following.cost.waited_usd
            settled[place] = replace(
                leg,
                cost=replace(leg.cost, usd=usd, kept_usd=0.0),
                machines=replace(leg.machines, is_gone=True, kept_until=0.0),
            )
    return settled


def _with_sweep(leg: Leg, sweep: Leg, *, counted_usd: float) -> Leg:
    """Add a sweep's proof, and its cost if that is larger: the machine may have run on after the run's summary.

    `counted_usd`: the part of the sweep's cost that earlier runs on the machine count.
    """
    if sweep.source.at >= leg.source.at:
        leg = replace(leg, machines=replace(leg.machines, is_gone=sweep.machines.is_gone, kept_until=0.0))
    if (sweep.cost.usd_so_far or 0.0) - counted_usd <= (leg.cost.usd_so_far or 0.0):
        return leg
    usd = max(0.0, (sweep.cost.usd or 0.0) - counted_usd)
    return replace(leg, cost=replace(leg.cost, usd=usd, kept_usd=sweep.cost.kept_usd))


def _last(group: Sequence[Leg]) -> Leg:
    worst = min((_failure_of(leg) for leg in group), key=_ORDER.index)
    latest_first = sorted(group, key=lambda leg: (leg.source.at, leg.machines.is_gone))
    last = next(leg for leg in reversed(latest_first) if _failure_of(leg) is worst)
    if _tells_why(last):
        return last
    # Only main reads the job's lines; post writes the later summary without them.
    main = next((leg for leg in group if _failure_of(leg) is worst and _tells_why(leg)), last)
    url = last.evidence.artifact_url or main.evidence.artifact_url
    return replace(last, evidence=replace(main.evidence, artifact_url=url))


def _tells_why(leg: Leg) -> bool:
    return bool(leg.evidence.first_error or leg.evidence.last_lines)


def _failure_of(leg: Leg) -> Failure | None:
    """Return the kind of failure, whether or not a machine was left: only that may change between two summaries."""
    return failure(replace(leg, machines=replace(leg.machines, is_gone=True)))


def _claim(leg: Leg) -> tuple[str, str, Failure | None]:
    """Return the facts on which all summaries of a run agree. An unproved release replaces the exit code."""
    kind = None if leg.exit_code == EXIT_NOT_PROVED_GONE else _failure_of(leg)
    return leg.name, leg.ending.value, kind


def _ends(group: Sequence[Leg]) -> str:
    return ", ".join(dict.fromkeys(f"{leg.name or 'no leg'} {leg.ending.value}".replace("_", " ") for leg in group))
