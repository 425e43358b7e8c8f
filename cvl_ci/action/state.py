"""The state that main saves for post, in a file under HOME and with the runner: enough to report how the run ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from cvl_ci.errors import NotProvedGone
from cvl_ci.model.launch import Attempt, Spending
from cvl_ci.model.ledger import Cost
from cvl_ci.model.outcome import EXIT_CODES, Ending, FetchedFile, FileResult, MachineResult, Outcome, Timing
from cvl_ci.model.release import Release
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.result.ledger import Ends, build
from cvl_ci.result.no_follow import LinkInTheWay, refuse_links, write_text

_ATTEMPT = Attempt(cloud="", region="", zone="", instance_type="", spot=False, hourly_usd=0.0)
"""An attempt whose values have the types that a saved one must have."""
_ENDINGS = {ending.value for ending in Ending}

CUT_SHORT = "The step was ended before the run was over: cancelled, out of its own time, or killed."


@dataclass(frozen=True, kw_only=True)
class SavedEnding:
    """The end of a main that proved or reported nothing after it. `ending`: empty without an end."""

    ending: str = ""
    reason: str = ""
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class StepState:
    """The facts of one step that post needs.

    `done`: main reported the end itself, with its proof. `kept_until`: the end of a machine that outlives a failed job,
    in words; post does not end its lease. `leg`: the text of the input, which post may lack.
    """

    lease: str
    leg: str = ""
    work: WorkIdentity = field(default_factory=WorkIdentity)
    spending: Spending = field(default_factory=Spending)
    end: SavedEnding = field(default_factory=SavedEnding)
    done: bool = False
    kept_until: str = ""
    artifacts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The artifacts that main uploaded: kind → name and address."""

    @property
    def is_final(self) -> bool:
        """True where main reached its end with a proof: its report stands."""
        return bool(self.end.ending) and self.end.exit_code != NotProvedGone.exit_code


class SavedState:
    """The state of this step, saved again after each change."""

    def __init__(self, path: Path, first: StepState, *, tell_runner: Callable[[str], None]) -> None:
        """`tell_runner` gives the state as text to GitHub's runner, which hands it to post."""
        self._path, self._tell_runner = path, tell_runner
        self.now = first

    def update(self, **changes: object) -> None:
        """Save the changed state."""
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
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _read(document) if isinstance(document, dict) and document.get("lease") else None


Group = TypeVar("Group", WorkIdentity, SavedEnding)


def _read(document: Mapping[str, object]) -> StepState:
    """Read a state. An earlier version wrote the keys of all groups next to each other."""
    artifacts = document.get("artifacts")
    links = artifacts.items() if isinstance(artifacts, dict) else ()
    end = _group(SavedEnding, "end", document)
    return StepState(
        lease=str(document["lease"]),
        leg=str(document.get("leg") or ""),
        work=_group(WorkIdentity, "work", document),
        spending=_spending(document.get("spending")),
        end=end if end.ending in _ENDINGS else SavedEnding(),
        done=document.get("done") is True,
        kept_until=str(document.get("kept_until") or ""),
        artifacts={str(kind): (str(link[0]), str(link[1])) for kind, link in links if _is_link(link)},
    )


def _group(of: type[Group], name: str, document: Mapping[str, object]) -> Group:
    """Read one group: each saved value that has the type of its default."""
    saved = document.get(name, document)
    values: Mapping[str, Any] = saved if isinstance(saved, dict) else {}
    defaults = vars(of())
    return of(
        **{key: values[key] for key, default in defaults.items() if key in values and _fits(values[key], default)}
    )


def _spending(saved: object) -> Spending:
    """Read the facts about money. An attempt with a value of another type is left out."""
    values: Mapping[str, Any] = saved if isinstance(saved, dict) else {}
    attempts = [one for one in values.get("attempts") or () if isinstance(one, dict) and _is_attempt(one)]
    return Spending(
        attempts=tuple(Attempt(**one) for one in attempts),
        **{
            key: values[key]
            for key, default in (("nodes", 1), ("disk_gb", 0.0), ("billed", True))
            if key in values and _fits(values[key], default)
        },
    )


def _is_attempt(saved: Mapping[str, object]) -> bool:
    optional = {"zone": "", "error": "", "ended_at": 0.0}
    types = {**vars(_ATTEMPT), **optional}
    return saved.keys() == types.keys() and all(
        (value is None and key in optional) or _fits(value, types[key]) for key, value in saved.items()
    )


def _fits(value: object, default: object) -> bool:
    """Return whether a value of JSON has the type of the default. JSON writes 3.0 as 3 at times."""
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def as_text(state: StepState) -> str:
    """Return the state as JSON."""
    return json.dumps(asdict(state))


def outcome_from(state: StepState | None, release: Release, *, name: str, folder: Path) -> Outcome:
    """Return the end of the run that main saved, with post's release. `folder` holds the fetched files.

    A main that saved no ending was cut short.
    """
    ending, reason, code = Ending.CANCELLED, CUT_SHORT, EXIT_CODES[Ending.CANCELLED]
    if state is not None and state.end.ending:
        ending, reason, code = Ending(state.end.ending), state.end.reason, state.end.exit_code
        if code == NotProvedGone.exit_code:
            code = EXIT_CODES.get(ending, code)
    files = _files(folder)
    cost = _cost(state, release, fetched_bytes=sum(file.bytes for file in files)) if state is not None else None
    work = state.work if state else WorkIdentity()
    return Outcome(
        ending=ending,
        reason=reason,
        exit_code=code if release.gone else NotProvedGone.exit_code,
        work=replace(work, title=work.title or name),
        machines=MachineResult(cluster=name),
        cost=cost,
        timing=Timing(duration_seconds=cost.seconds if cost else 0.0),
        files=FileResult(fetched=files, directory=str(folder) if files else ""),
        release=release,
        advice="" if release.gone else f"Take it down and have it proved:\ncvl-ci down {name}",
    )


def _cost(state: StepState, release: Release, *, fetched_bytes: int) -> Cost | None:
    """Return the cost of the run that main began, or None if no machine of it existed."""
    removed_at = release.at if release.removed_at is None else release.removed_at
    spending = state.spending
    ledger = build(
        spending.attempts,
        nodes=spending.nodes,
        disk_gb=spending.disk_gb,
        ends=Ends(removed_at=removed_at, gone_at=release.at),
        memory=release.memory,
        fetched_bytes=fetched_bytes,
    )
    return Cost(ledger=ledger, hourly_usd=spending.hourly_usd, billed=spending.billed) if ledger.entries else None


def _files(folder: Path) -> tuple[FetchedFile, ...]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return tuple(FetchedFile(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size) for path in paths)
