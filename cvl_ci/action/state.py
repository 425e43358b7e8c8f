"""The state that main saves for post, in a file under HOME and with the runner: enough to report how the run ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cvl_ci.errors import NotProvedGone
from cvl_ci.model.outcome import (
    EXIT_CODES,
    Cost,
    Ending,
    FetchedFile,
    FileResult,
    MachineResult,
    Outcome,
    Release,
    Timing,
    WorkIdentity,
)
from cvl_ci.result.no_follow import LinkInTheWay, refuse_links, write_text

CUT_SHORT = "The step was ended before the run was over: cancelled, out of its own time, or killed."


@dataclass(frozen=True, kw_only=True)
class StepState:
    """The facts of one step that post needs.

    `done`: main reported the end itself, with its proof. `since`: when spending began, in seconds of the epoch.
    `kept_until`: the end of a machine that outlives a failed job, in words; post does not end its lease.
    `ending`, `reason`, `exit_code`: the end of a main that proved or reported nothing after it.
    """

    lease: str
    leg: str
    title: str = ""
    example: str = ""
    preset: str = ""
    image: str = ""
    done: bool = False
    since: float = 0.0
    hourly_usd: float = 0.0
    billed: bool = True
    ending: str = ""
    reason: str = ""
    exit_code: int = 0
    kept_until: str = ""
    artifacts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The artifacts that main uploaded: kind → name and address."""

    @property
    def is_final(self) -> bool:
        """True where main reached its end with a proof: its report stands."""
        return bool(self.ending) and self.exit_code != NotProvedGone.exit_code


class SavedState:
    """The state of this step, saved again after each change."""

    def __init__(self, path: Path, first: StepState, *, tell_runner: Callable[[str], None]) -> None:
        """`tell_runner` gives the state as text to GitHub's runner, which hands it to post."""
        self._path, self._tell_runner = path, tell_runner
        self.now = first

    def update(self, **changes: object) -> None:
        """Save the changed state. Spending began at the first price: a later `since` changes nothing."""
        if self.now.since:
            changes.pop("since", None)
        self.now = replace(self.now, **changes)  # type: ignore[arg-type]
        save(self._path, self.now)
        with contextlib.suppress(OSError):  # the file holds the same, and a full disk must not end a run
            self._tell_runner(as_text(self.now))

    def add_artifact(self, kind: str, *, name: str, url: str) -> None:
        """Save that the workflow holds an artifact of this kind."""
        self.update(artifacts={**self.now.artifacts, kind: (name, url)})

    @property
    def is_taken_over(self) -> bool:
        """True where post has begun to undo this step."""
        return taken_over(self._path)


def save(path: Path, state: StepState) -> None:
    """Write the whole file or nothing. A full disk must not end a run: post can compute the name again."""
    with contextlib.suppress(OSError, LinkInTheWay):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        write_text(half, as_text(state))
        half.replace(path)


def take_over(path: Path) -> None:
    """Mark the step as post's. A cancelled main may still run, and must write nothing more."""
    with contextlib.suppress(OSError, LinkInTheWay):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_links(path.with_suffix(".post"))
        path.with_suffix(".post").touch()


def taken_over(path: Path) -> bool:
    return path.with_suffix(".post").exists()


def load(path: Path, *, else_from: str = "") -> StepState | None:
    """Return the saved state, or None. `else_from`: the same as text, from GitHub's runner."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = else_from
    try:
        return StepState(**json.loads(text))
    except (ValueError, TypeError):
        return None


def as_text(state: StepState) -> str:
    """Return the state as JSON."""
    return json.dumps(asdict(state))


def outcome_from(state: StepState | None, release: Release, *, name: str, folder: Path) -> Outcome:
    """Return the end of the run that main saved, with post's release. `folder` holds the fetched files.

    A main that saved no ending was cut short.
    """
    ending, reason, code = Ending.CANCELLED, CUT_SHORT, EXIT_CODES[Ending.CANCELLED]
    if state is not None and state.ending:
        ending, reason, code = Ending(state.ending), state.reason, state.exit_code
        if code == NotProvedGone.exit_code:
            code = EXIT_CODES.get(ending, code)
    cost = _cost(state, release) if state is not None and state.hourly_usd else None
    files = _files(folder)
    return Outcome(
        ending=ending,
        reason=reason,
        exit_code=code if release.gone else NotProvedGone.exit_code,
        work=WorkIdentity(title=(state.title if state else "") or name),
        machines=MachineResult(cluster=name),
        cost=cost,
        timing=Timing(duration_seconds=cost.seconds if cost else 0.0),
        files=FileResult(fetched=files, directory=str(folder) if files else ""),
        release=release,
        advice="" if release.gone else f"Take it down and have it proved:\ncvl-ci down {name}",
    )


def _cost(state: StepState, release: Release) -> Cost:
    seconds = max(0.0, release.at - state.since)
    usd = state.hourly_usd * seconds / 3600
    return Cost(hourly_usd=state.hourly_usd, seconds=seconds, usd=usd, estimated_usd=None, billed=state.billed)


def _files(folder: Path) -> tuple[FetchedFile, ...]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return tuple(FetchedFile(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size) for path in paths)
