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
from cvl_ci.model.outcome import Ending
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.result.no_follow import LinkInTheWay, refuse_links, write_text

_ATTEMPT = Attempt(cloud="", region="", zone="", instance_type="", spot=False, hourly_usd=0.0)
"""An attempt whose values have the types that a saved one must have."""
_ENDINGS = {ending.value for ending in Ending}


@dataclass(frozen=True, kw_only=True)
class SavedEnding:
    """The end of a main that proved or reported nothing after it. `ending`: empty without an end."""

    ending: str = ""
    reason: str = ""
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class SavedJob:
    """The facts of a queue's lease from which post computes its cost: its first job, and the requests."""

    job: str = ""
    work: WorkIdentity = field(default_factory=WorkIdentity)
    spending: Spending = field(default_factory=Spending)


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
    leases: tuple[str, ...] = ()
    """Leases without a proof yet: of a queue's jobs, each before anything is created under it; or of the services that
    a deployment ends."""
    verb: str = ""
    deployment: int = 0
    """GitHub's number of the deployment that shows the service; 0 without one."""
    jobs: Mapping[str, SavedJob] = field(default_factory=dict)
    """The facts of these leases that had a request, by their names."""

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

    @property
    def costs(self) -> Path:
        """The folder for the costs of a queue's jobs."""
        return self._path.with_suffix(".costs")

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
    def is_claimed_by_post(self) -> bool:
        """True where post has begun to undo this step."""
        return is_claimed_by_post(self._path)


def save(path: Path, state: StepState) -> None:
    """Write the whole file or nothing. A full disk must not end a run: post can compute the name again."""
    with contextlib.suppress(OSError, LinkInTheWay):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        write_text(half, as_text(state))
        half.replace(path)


def claim_for_post(path: Path) -> None:
    """Mark the step as post's. A cancelled main may still run, and must write nothing more."""
    with contextlib.suppress(OSError, LinkInTheWay):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_links(path.with_suffix(".post"))
        path.with_suffix(".post").touch()


def is_claimed_by_post(path: Path) -> bool:
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
        leases=tuple(map(str, leases)) if isinstance(leases := document.get("leases"), list) else (),
        verb=str(document.get("verb") or ""),
        deployment=number if type(number := document.get("deployment")) is int else 0,
        jobs=_jobs(document.get("jobs")),
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


def _jobs(saved: object) -> Mapping[str, SavedJob]:
    values: Mapping[str, Any] = saved if isinstance(saved, dict) else {}
    return {
        lease: SavedJob(
            job=str(one.get("job") or ""),
            work=_group(WorkIdentity, "work", one),
            spending=_spending(one.get("spending")),
        )
        for lease, one in values.items()
        if isinstance(one, dict)
    }


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
