"""Collecting in words, and as an exit code."""

from __future__ import annotations

from collections.abc import Iterator

from cvl_ci.commands.collect.collect import Collected
from cvl_ci.commands.collect.running import StillRunning
from cvl_ci.result.matrix import failures
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import dollars, moment

EXIT_NOT_YET = 75
"""A job that still runs: try again later (EX_TEMPFAIL of sysexits.h)."""
EXIT_UNKNOWN = 79


def lines(collected: Collected) -> Iterator[str]:
    """Yield a line for each run that is not over. The summary of a collected run is shown by itself."""
    if not collected.outcomes and not collected.running:
        yield "No detached run waits for collect, by the records here."
    for one in collected.running:
        yield plain(_line(one))


def exit_code(collected: Collected, *, is_neutral: bool) -> int:
    """Return the worst code: of a missing answer, of a job, of infrastructure, of a job that still runs.

    `is_neutral`: a job that still runs is not a failure, because a schedule asks again.
    """
    failed = [outcome for outcome in collected.outcomes.values() if outcome.exit_code]
    failed.sort(key=lambda outcome: failures.of_outcome(outcome) in failures.INFRASTRUCTURE)
    if any(outcome.exit_code == EXIT_UNKNOWN for outcome in failed) or any(one.doubt for one in collected.running):
        return EXIT_UNKNOWN
    if failed:
        return failed[0].exit_code
    return EXIT_NOT_YET if collected.running and not is_neutral else 0


def _line(one: StillRunning) -> str:
    price = f"{dollars(one.usd)} so far" if one.billed else f"{dollars(one.usd)} so far if it were AWS"
    if one.was_released:
        return (
            f"{one.lease}: {one.title}: cvl-ci took its machine down, but cannot read how its job ended. {one.doubt} "
            f"The results stay in the bucket. Try again: cvl-ci collect {one.lease}"
        )
    if one.doubt:
        return (
            f"{one.lease}: {one.title}: nothing certain is known. {one.doubt} Its machine ends itself by "
            f"{moment(one.until)}. Nothing was taken down. Try again: cvl-ci collect {one.lease}"
        )
    return (
        f"{one.lease}: {one.title}: its job still runs, until {moment(one.until)} at most; {price}. "
        f"Nothing was taken down. Sooner: cvl-ci down {one.lease}"
    )
