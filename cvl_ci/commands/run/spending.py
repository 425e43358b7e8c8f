"""Compute the money that a run has spent and may still spend, from its attempts and the provider's dates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.run.state import RunState
from cvl_ci.model.budget import Budget, Fleet
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.ledger import Cost, CostKind, Ledger, Memory
from cvl_ci.model.location import Location
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.result.ledger import FETCHED_FILES, Ends, build, divided
from cvl_ci.result.machine_lives import named

UNSEEN = (
    "The API server did not name a machine that it requested, nor its price. So a part of the cost is "
    "an upper bound, at the quote's highest price. The server's own records or the cloud's bill have the real cost."
)
"""The doubt about the cost of a run through a server, of which a launch failed or ended before it was complete."""


def ledger(state: RunState, release: Release) -> Ledger:
    """Return every entry of the run, after its release."""
    fetched_bytes = state.facts.fetched.traffic_bytes
    return _ledger(state, release, lost_at=state.facts.lost_at, fetched_bytes=fetched_bytes)


def _ledger(state: RunState, release: Release, *, fetched_bytes: float, lost_at: float | None = None) -> Ledger:
    gone_at = release.kept.until if release.kept else release.at
    return build(
        state.launches.attempts,
        nodes=state.plan.machines.num_nodes,
        disk_gb=state.plan.machines.needs.largest_disk_gb,
        ends=Ends(
            removed_at=gone_at if release.kept or release.removed_at is None else release.removed_at,
            gone_at=gone_at,
            lost_at=lost_at,
            is_latest=lost_at is not None,
        ),
        memory=release.memory,
        fetched_bytes=fetched_bytes,
        price_source=state.ports.prices.date,
        buckets=release.billed_buckets(state.launches.attempts),
    )


def cost(state: RunState) -> Cost | None:
    """Return the cost of the run. None: nothing of it that costs ever existed."""
    if state.facts.release is None or not (entries := ledger(state, state.facts.release)).entries:
        return None
    if state.sharing is not None and state.sharing.use is not None and state.sharing.is_entered:
        launch = state.launches.current
        entries = entries.since(state.sharing.use.entered_at, birth=launch.created_at if launch else None)
    last = state.launches.attempts[-1] if state.launches.attempts else None
    sums = Cost(
        ledger=entries,
        hourly_usd=last.hourly_usd * state.plan.machines.num_nodes if last else 0.0,
        estimated_usd=state.quote.max_usd,
        billed=state.cloud is None or state.cloud.billed,
        kept_usd=entries.usd - entries.until(state.facts.release.at).usd if state.facts.release.kept else None,
    )
    return replace(sums, on_demand_hourly_usd=_on_demand(state, last)) if last and last.spot else sums


def shares(states: Sequence[RunState], ended_at: Sequence[float], release: Release | None) -> list[Cost | None]:
    """Return the share of each job that used the machines in turn. They add up to the cost of the machines.

    A job pays from the end of the job before to its own end; the last one pays to the end of the machines.
    """
    first, last = states[0], states[-1]
    if release is None or not (bill := _ledger(first, release, lost_at=last.facts.lost_at, fetched_bytes=0)).entries:
        return [None] * len(states)
    attempt = first.launches.attempts[-1]
    sums = []
    for state, part in zip(states, divided(bill, ended_at[:-1]), strict=True):
        fetched_bytes = state.facts.fetched.traffic_bytes
        traffic = _ledger(first, release, fetched_bytes=fetched_bytes).of_kind(CostKind.TRAFFIC)
        traffic = tuple(entry for entry in traffic if entry.item == FETCHED_FILES)
        sums.append(
            Cost(
                ledger=Ledger(entries=(*part.entries, *traffic)),
                hourly_usd=attempt.hourly_usd * state.plan.machines.num_nodes,
                billed=first.cloud is None or first.cloud.billed,
            )
        )
    return list(sums)


def cost_since(state: RunState, release: Release, *, since: float) -> float | None:
    """Return the cost of released machines of an earlier run since a moment, at the catalogue's prices.

    The plan of this run tells the size of a disk. None: no date or no price of a machine is known.
    """
    total = 0.0
    lives = [life for life in release.memory.lives if life.end is None or life.end > since]
    for life in lives:
        place = Location(cloud=life.cloud, region=life.region)
        hourly = quoting.catalogue_hourly_usd(
            life.instance_type, location=place, is_spot=life.spot, prices=state.ports.prices
        )
        if hourly is None:
            return None
        fleet = Fleet(cloud=life.cloud, hourly_usd=hourly, disk_gb=state.plan.machines.needs.largest_disk_gb)
        end = life.end if life.end is not None else release.removed_at or release.at
        begin = max(since, life.start)
        total += fleet.cost_usd(seconds=max(0.0, end - begin), at=since, before=begin - life.start)
    return total if lives else None


def warnings(state: RunState) -> list[str]:
    """Return the doubts about the cost."""
    memory = state.facts.release.memory if state.facts.release else Memory()
    attempts = named(state.launches.attempts, memory)
    is_bound = any(one.is_bound and (one.error is None or one.machines) for one in attempts)
    return [UNSEEN] if is_bound else []


def spent_before(state: RunState) -> float:
    """Return the cost of the attempts that are over: max_cost pays for the rest only."""
    over = [attempt for attempt in state.launches.attempts if attempt.ended_at is not None]
    now = state.ports.clock.now()
    return build(
        over,
        nodes=state.plan.machines.num_nodes,
        disk_gb=state.plan.machines.needs.largest_disk_gb,
        ends=Ends(removed_at=now, gone_at=now),
    ).usd


def paid_seconds(plan: RunPlan, launch: Launch, *, spent_usd: float) -> float:
    """Return for how long max_cost pays for these machines, from their request on."""
    fleet = Fleet.of(launch, disk_gb=plan.machines.needs.largest_disk_gb)
    return Budget(max_usd=plan.limits.max_cost_usd, spent_usd=spent_usd).seconds(fleet, at=launch.created_at)


def paid_minutes_of_job(state: RunState) -> float:
    """Return for how long the job's own max_cost pays, at the price of its machines or of the first offer."""
    launch, offers = state.launches.current, state.quote.offers
    if launch is None and not offers:
        return math.inf
    fleet = Fleet(
        cloud=launch.cloud if launch else offers[0].cloud,
        hourly_usd=launch.hourly_usd if launch else offers[0].hourly_usd,
        nodes=state.plan.machines.num_nodes,
        disk_gb=state.plan.machines.needs.largest_disk_gb,
    )
    return Budget(max_usd=state.plan.limits.max_cost_usd).seconds(fleet, at=state.ports.clock.now()) / 60


def end_of_money(state: RunState, launch: Launch, deadline: float) -> float:
    """Return the end of the money.

    A failover may use a more expensive machine than the quoted one, for which max_cost buys less.
    """
    paid = paid_seconds(state.plan, launch, spent_usd=spent_before(state))
    return min(deadline, launch.created_at + min(state.plan.limits.longest_minutes * 60, paid))


def _on_demand(state: RunState, attempt: Attempt) -> float | None:
    needs = replace(state.plan.machines.needs, instance_type=attempt.instance_type, accelerators={}, alternatives=())
    place = Location(cloud=attempt.cloud, region=attempt.region)
    offers = quoting.on_demand(needs, location=place, prices=state.ports.prices)
    return offers[0].hourly_usd * state.plan.machines.num_nodes if offers else None
