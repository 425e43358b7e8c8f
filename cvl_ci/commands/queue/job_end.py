"""The end of a job as its record in the queue. Pure but for the digests of its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cvl_ci.commands.queue import fingerprint as fingerprints
from cvl_ci.errors import CvlError, NotProvedGone, explain_while_running
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.queue import JobRecord, JobState, RetryCause
from cvl_ci.result.text import accounted_for


def record_of_end(end: Outcome | BaseException, now: JobRecord, *, folder: Path) -> tuple[JobRecord, RetryCause | None]:
    """Return the record of a job's end, and the cause for which it may start again."""
    now = replace(now, usd=0.0, seconds=0.0)
    if isinstance(end, KeyboardInterrupt):
        return replace(now, state=JobState.CANCELLED, reason="stopped before it began"), None
    if isinstance(end, CvlError) and not isinstance(end, NotProvedGone):
        return _of_code(now, end.exit_code, explain_while_running(end))
    if isinstance(end, BaseException):  # a mistake of cvl-ci may have lost the proof of the release
        reason = explain_while_running(end) if isinstance(end, Exception) else repr(end)
        code = end.exit_code if isinstance(end, CvlError) else CvlError.exit_code
        return replace(now, state=JobState.FAILED, exit_code=code, reason=reason, is_gone=False), None
    files = tuple(file.path for file in end.files.fetched)
    record = replace(
        now,
        state=_state_of(end),
        reason=end.reason,
        exit_code=end.exit_code,
        folder=str(folder),
        usd=end.cost.usd if end.cost and end.cost.billed else 0.0,
        seconds=end.timing.duration_seconds,
        is_gone=accounted_for(end),
    )
    try:
        record = replace(record, digests=fingerprints.digests(folder, files))
    except OSError as error:
        if record.state is JobState.SUCCEEDED:  # its dependents would lack the files
            reason = f"its files cannot be read: {error}"
            record = replace(record, state=JobState.FAILED, exit_code=CvlError.exit_code, reason=reason)
    if end.ending is Ending.NEVER_STARTED:
        return _of_code(record, end.exit_code, end.reason)
    return record, RetryCause.PREEMPTED if end.ending is Ending.PREEMPTED and record.is_gone else None


def _state_of(end: Outcome) -> JobState:
    """Return the state of a job that ran. An idle end that is neutral leaves no files for the jobs that need it."""
    if end.ending is Ending.IDLE and not end.exit_code:
        return JobState.NOT_RUN
    return _STATES.get(end.ending, JobState.FAILED)


_STATES = {
    Ending.SUCCEEDED: JobState.SUCCEEDED,
    Ending.PREEMPTED: JobState.NOT_RUN,
    Ending.UNFIT: JobState.NOT_RUN,
    Ending.STORAGE_FAILED: JobState.NOT_RUN,
    Ending.CANCELLED: JobState.CANCELLED,
}
_CAPACITY, _REQUEST, _BUDGET = 75, 64, 78


def _of_code(record: JobRecord, code: int, reason: str) -> tuple[JobRecord, RetryCause | None]:
    """Return the record of a job without a machine. A wrong request and a small budget are the user's own."""
    state = JobState.FAILED if code in {_REQUEST, _BUDGET} else JobState.NOT_RUN
    cause = RetryCause.CAPACITY if code == _CAPACITY and record.is_gone else None
    return replace(record, state=state, exit_code=code, reason=reason), cause
