"""The result of a queue for a program: an exit code that carries each job's record."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import final

from cvl_ci.errors import BudgetError, CapacityError, CvlError
from cvl_ci.model.outcome import EXIT_CODES, EXIT_NOT_PROVED_GONE, Ending
from cvl_ci.model.queue import JobRecord, JobState
from cvl_ci.result.queue_text import HEADER, rows, summary

NOTHING_RAN = CapacityError.exit_code
"""The code of a queue in which infrastructure prevented each job, as of a report in which no leg ended by itself."""


@final
class QueueResult(int):
    """The exit code of a queue, with its jobs. As any exit code, it is true when the queue failed."""

    jobs: Mapping[str, JobRecord]

    def __new__(cls, jobs: Mapping[str, JobRecord], *, fails_on_infrastructure: bool = False) -> QueueResult:
        """Return the exit code of these jobs, with the jobs."""
        code = exit_code(jobs, fails_on_infrastructure=fails_on_infrastructure)
        return cls._of(code, jobs)

    @classmethod
    def _of(cls, code: int, jobs: Mapping[str, JobRecord]) -> QueueResult:
        result = super().__new__(cls, code)
        result.jobs = jobs
        return result

    def __reduce__(self) -> tuple[object, ...]:
        """Return how pickle and copy make the result again."""
        return (QueueResult._of, (int(self), dict(self.jobs)))

    def __repr__(self) -> str:
        """Return the exit code and the line of all jobs."""
        return f"<QueueResult {int(self)}: {summary(self.jobs)}>"

    def __str__(self) -> str:
        """Return the exit code alone."""
        return str(int(self))

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="text-align:left">{escape(cell)}</th>' for cell in HEADER)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) + "</tr>"
            for row in rows(self.jobs)
        )
        return f"<div><b>{escape(summary(self.jobs))}</b><table><tr>{head}</tr>{body}</table></div>"

    @property
    def exit_code(self) -> int:
        return int(self)


def exit_code(jobs: Mapping[str, JobRecord], *, fails_on_infrastructure: bool) -> int:
    """Return the program's exit code: a machine that may run first, then a cancelled queue, then failed jobs.

    The code of a failed job is its own. `fails_on_infrastructure`: jobs that did not run make it red too.
    """
    records = list(jobs.values())
    if not all(record.is_gone for record in records):
        return EXIT_NOT_PROVED_GONE
    if any(record.state is JobState.CANCELLED for record in records):
        return EXIT_CODES[Ending.CANCELLED]
    failed = [record for record in records if record.state is JobState.FAILED]
    if failed:
        return failed[0].exit_code or 1
    if any(record.state is JobState.SKIPPED and record.exit_code for record in records):
        return BudgetError.exit_code
    # A job that was idle with `on_idle: neutral` is not a loss: its code is 0.
    lost = [record for record in records if record.state is JobState.NOT_RUN and record.exit_code != 0]
    if lost and all(record in lost or record.state is JobState.SKIPPED for record in records):
        return NOTHING_RAN
    return (lost[0].exit_code or CvlError.exit_code) if lost and fails_on_infrastructure else 0
