"""A queue as text: one row for each job, and one line for all."""

from __future__ import annotations

from collections.abc import Mapping

from cvl_ci.model.queue import OVER, JobRecord, JobState
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import dollars, duration

MOST_LIVE = 10
"""Rows of the table of running jobs. A terminal of 24 lines shows them with room for the jobs' own lines."""
HEADER = ("job", "state", "time", "cost", "attempts", "")


def rows(records: Mapping[str, JobRecord]) -> list[tuple[str, ...]]:
    """Return the cells of each job: its id, state, time, cost, attempts, and the reason of its state."""
    return [
        (
            name,
            record.state.value,
            duration(record.seconds) if record.seconds else "",
            dollars(record.usd) if record.usd and not record.is_reused else "",
            str(record.attempts) if record.attempts > 1 else "",
            note(record),
        )
        for name, record in records.items()
    ]


def note(record: JobRecord) -> str:
    """Return the reason of a state, in one harmless line."""
    if record.is_reused:
        return "an earlier queue ran it with the same content"
    reason = "" if record.state is JobState.SUCCEEDED else plain(" ".join(record.reason.split()))
    alarm = "" if record.is_gone else f"A MACHINE MAY STILL BE RUNNING: cvl-ci down {record.lease}."
    return " ".join(filter(None, [alarm, reason]))


def table(records: Mapping[str, JobRecord]) -> list[str]:
    """Return an aligned table with its header, and the line of all jobs."""
    cells = [HEADER, *rows(records)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(HEADER) - 1)]
    used = [at for at, width in enumerate(widths) if any(row[at] for row in cells[1:])]
    lines = ["  ".join([*(f"{row[at]:<{widths[at]}}" for at in used), row[-1]]).rstrip() for row in cells]
    return [*lines, "", summary(records)]


def summary(records: Mapping[str, JobRecord]) -> str:
    """Return `12 jobs: 9 succeeded, 1 failed, 2 skipped · $1.25`."""
    counts = [
        f"{count} {state.value}"
        for state in JobState
        if (count := sum(record.state is state for record in records.values()))
    ]
    usd = sum(record.usd for record in records.values() if not record.is_reused)
    reused = sum(record.is_reused for record in records.values())
    parts = [
        f"{len(records)} job{'' if len(records) == 1 else 's'}: {', '.join(counts)}",
        *([f"{reused} of an earlier queue"] if reused else []),
        *([dollars(usd)] if usd else []),
    ]
    return " · ".join(parts)


def live(records: Mapping[str, JobRecord], *, seconds: Mapping[str, float]) -> list[str]:
    """Return the running jobs as an aligned table for a terminal. `seconds`: since the start of each.

    The jobs that are over are in the lines above it. Of many running jobs, the last ones are only counted.
    """
    names = [name for name, record in records.items() if record.state is JobState.RUNNING]
    width = max(map(len, names), default=0)
    lines = [f"  {name:<{width}}  running  {duration(seconds.get(name, 0.0))}" for name in names[:MOST_LIVE]]
    return [*lines, *([f"  and {len(names) - MOST_LIVE} more"] if len(names) > MOST_LIVE else [])]


def progress(records: Mapping[str, JobRecord]) -> str:
    """Return `4 of 12 over · running: train, test`."""
    over = sum(record.state in OVER for record in records.values())
    running = ", ".join(name for name, record in records.items() if record.state is JobState.RUNNING)
    return f"{over} of {len(records)} over{f' · running: {running}' if running else ''}"
