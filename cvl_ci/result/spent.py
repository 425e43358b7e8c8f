"""Compute the cost of a lease from the requests that its run recorded, without the run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvl_ci.model.launch import Spending
from cvl_ci.model.ledger import CostKind, Ledger
from cvl_ci.model.release import Release
from cvl_ci.model.storage import KeptBucket
from cvl_ci.result.ledger import Ends, build


def worth_recording(spending: Spending) -> Spending:
    """Return the requests that cost something, without their errors, which may quote the provider."""
    costly = (attempt for attempt in spending.attempts if attempt.error is None or attempt.machines)
    attempts = tuple(attempt if attempt.error is None else replace(attempt, error="ended") for attempt in costly)
    return replace(spending, attempts=attempts)


def so_far(spending: Spending, *, until: float) -> Ledger:
    """Return the entries until a moment, in epoch seconds, as if the latest machines lived until then."""
    return build(
        spending.attempts,
        nodes=spending.nodes,
        disk_gb=spending.disk_gb,
        ends=Ends(removed_at=until, gone_at=until),
    )


def after_release(
    spending: Spending,
    release: Release,
    *,
    ended_by: float | None = None,
    fetched_bytes: float = 0.0,
    buckets: Sequence[KeptBucket] = (),
) -> Ledger:
    """Return the entries of machines that another process released. They may have ended sooner, undated.

    `ended_by`: the moment at which they were to end at the latest. A machine that the provider showed after that moment
    has outlived it, so it counts until its removal.
    """
    gone_at = release.kept.until if release.kept else release.at
    removed_at = gone_at if release.removed_at is None else release.removed_at
    if ended_by is not None and not _has_outlived(ended_by, release):
        gone_at, removed_at = min(gone_at, ended_by), min(removed_at, ended_by)
    return build(
        spending.attempts,
        nodes=spending.nodes,
        disk_gb=spending.disk_gb,
        ends=Ends(removed_at=removed_at, gone_at=gone_at, is_latest=True),
        memory=release.memory,
        fetched_bytes=fetched_bytes,
        buckets=buckets,
    )


def _has_outlived(moment: float, release: Release) -> bool:
    lives = release.memory.lives
    return any(one.end > moment if one.end is not None else not one.is_gone for one in lives)


def known_usd(ledger: Ledger) -> float | None:
    """Return the sum; None if the price of a machine is not known."""
    machines = ledger.of_kind(CostKind.MACHINE)
    return None if any(machine.usd is None for machine in machines) else ledger.usd
