"""Build the outcome of a run whose main did not report it, from the state that main saved and from post's release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cvl_ci.action.state import StepState
from cvl_ci.errors import NotProvedGone
from cvl_ci.model.ledger import Cost, Ledger
from cvl_ci.model.outcome import EXIT_CODES, Ending, FetchedFile, FileResult, MachineResult, Outcome, Timing
from cvl_ci.model.release import Release
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.result import spent

CUT_SHORT = "The step was ended before the run was over: cancelled, out of its own time, or killed."


def outcome_from(state: StepState | None, release: Release, *, name: str, folder: Path) -> Outcome:
    """Return the end of the run that main saved, with post's release. `folder` holds the fetched files.

    A main that saved no ending was cut short.
    """
    ending, reason, code = Ending.CANCELLED, CUT_SHORT, EXIT_CODES[Ending.CANCELLED]
    if state is not None and state.end.ending:
        ending, reason, code = Ending(state.end.ending), state.end.reason, state.end.exit_code
        if code == NotProvedGone.exit_code:
            code = EXIT_CODES.get(ending, code)
    is_over = release.gone or release.kept is not None
    files = _files(folder)
    cost = _cost(state, release, fetched_bytes=sum(file.bytes for file in files)) if state is not None else None
    work = state.work if state else WorkIdentity()
    return Outcome(
        ending=ending,
        reason=reason,
        exit_code=code if is_over else NotProvedGone.exit_code,
        work=replace(work, title=work.title or name),
        machines=MachineResult(cluster=name),
        cost=cost,
        timing=Timing(duration_seconds=cost.seconds if cost else 0.0),
        files=FileResult(fetched=files, directory=str(folder) if files else ""),
        release=release,
        advice="" if is_over else f"Take it down and prove its end:\ncvl-ci down {name}",
    )


def _cost(state: StepState, release: Release, *, fetched_bytes: int) -> Cost | None:
    """Return the cost of the run that main began, or None if no machine of it existed."""
    spending = state.spending
    buckets = release.billed_buckets(spending.attempts)
    ledger = spent.after_release(spending, release, fetched_bytes=fetched_bytes, buckets=buckets)
    if spending.attempts:  # the earlier runs of a warm machine have counted it until this run entered it
        # A provider may date a new machine a moment before its request: its minimum counts here in any case.
        cut = ledger.since(min(attempt.requested_at for attempt in spending.attempts)).entries
        ledger = Ledger(entries=tuple(replace(one, time=replace(one.time, birth=None)) for one in cut))
    return Cost(ledger=ledger, hourly_usd=spending.hourly_usd, billed=spending.billed) if ledger.entries else None


def _files(folder: Path) -> tuple[FetchedFile, ...]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return tuple(FetchedFile(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size) for path in paths)
