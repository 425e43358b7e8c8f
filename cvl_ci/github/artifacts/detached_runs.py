"""Find the detached runs of a repository that wait for collect: each left an artifact with its lease record.

"List artifacts for a repository" (GET /repos/{owner}/{repo}/actions/artifacts). Any job of any run may upload an
artifact of any name. So a record counts only if GitHub says two things of it: its run's commit is of this repository,
and the run's id is in the name of the lease. Only code of that same run can forge it then. A mark that a lease was
collected counts only if its run is of the branch on which this one runs, which a pull request's branch is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts.download import READ, Artifact, ArtifactReader
from cvl_ci.github.artifacts.unzip import files
from cvl_ci.model.detached import LONGEST_SECONDS
from cvl_ci.model.lease_name import LEASE_PATTERN, is_of_run
from cvl_ci.result.matrix.source import COLLECTED

WAITING = "cvl-ci-detached-"
LARGEST_RECORD = 1 << 20
MOST = 3_000
"""The most artifacts of a repository that are listed."""
_WAITING = re.compile(rf"{WAITING}({LEASE_PATTERN})")
_MARK = re.compile(rf"{COLLECTED}({LEASE_PATTERN})-mark(-\d+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class WaitingRun:
    """A detached run, as its artifact names it. `run`, `commit`: of its workflow, by GitHub's own word."""

    lease: str
    run: str
    commit: str
    text: str
    """Its lease record, which is not read yet."""


@dataclass(frozen=True, kw_only=True)
class WaitingRuns:
    """The artifacts of runs that wait, as GitHub lists them: several may claim one lease.

    `unread`: leases whose artifacts could not be read. `is_whole`: False if the repository has more than were listed.
    """

    runs: tuple[WaitingRun, ...] = ()
    unread: tuple[str, ...] = ()
    is_whole: bool = True


def mark_name(lease: str) -> str:
    """Return the name of the artifact that says of a lease that nothing is left to collect."""
    return f"{COLLECTED}{lease}-mark"


def waiting(
    repository: Repository, reader: ArtifactReader, *, branch: str, now: float, say: Callable[[str], None]
) -> WaitingRuns:
    """Return the runs that wait. Raise CvlError without an answer.

    `branch`: of this workflow's run. `now`: epoch seconds. `say`: artifacts that cannot be read, and why.
    """
    pages = repository.list_entries("/actions/artifacts", needs=READ, most=MOST + 1, key="artifacts")
    entries = list(pages)
    is_whole = len(entries) <= MOST or _is_too_old(entries[-1], now)  # GitHub lists the newest first
    named = [(str(one.get("name")), one) for one in entries if _is_own(one)]
    collected = {match[1] for name, one in named if (match := _MARK.fullmatch(name)) and _branch(one) == branch}
    runs: list[WaitingRun] = []
    unread: list[str] = []
    for name, entry in named:
        match = _WAITING.fullmatch(name)
        if match is None or match[1] in collected or not is_of_run(match[1], str(entry["workflow_run"].get("id"))):
            continue
        try:
            runs.append(_read(match[1], entry, reader))
        except CvlError as error:
            say(f"The artifact {name} of a detached run could not be read: {error.what}")
            if not _is_too_old(entry, now):
                unread.append(match[1])
    read = {run.lease for run in runs}
    rest = tuple(lease for lease in dict.fromkeys(unread) if lease not in read)
    return WaitingRuns(runs=tuple(runs), unread=rest, is_whole=is_whole)


def _is_own(entry: Mapping[str, Any]) -> bool:
    """Return whether the workflow's run is of a commit of this repository, and not of a fork."""
    run = entry.get("workflow_run")
    if not isinstance(run, Mapping):
        return False
    ids = run.get("repository_id"), run.get("head_repository_id")
    return isinstance(ids[0], int) and ids[0] == ids[1]


def _branch(entry: Mapping[str, Any]) -> str:
    """Return the branch of the run, which for a pull request is that of the request."""
    return str(entry["workflow_run"].get("head_branch"))


def _is_too_old(entry: Mapping[str, Any], now: float) -> bool:
    """Return whether the machine of the record is gone in any case, so that no answer is missing."""
    try:
        created_at = datetime.fromisoformat(str(entry.get("created_at")).replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return False
    return now - created_at > LONGEST_SECONDS


def _read(lease: str, entry: Mapping[str, Any], reader: ArtifactReader) -> WaitingRun:
    run = entry["workflow_run"]
    number, commit = run.get("id"), str(run.get("head_sha"))
    if not isinstance(number, int) or not _COMMIT.fullmatch(commit) or not isinstance(entry.get("id"), int):
        raise CvlError("GitHub names no number, run and commit of it.")
    if entry.get("expired") is True:
        raise CvlError("its retention is over.")
    size = entry.get("size_in_bytes")
    one = Artifact(number=entry["id"], name=str(entry["name"]), bytes=size if isinstance(size, int) else 0)
    problems: list[str] = []
    archive = reader.archive(one)
    contents: Sequence[tuple[str, bytes]] = list(
        files(archive, endings=(".json",), largest=LARGEST_RECORD, say=problems.append)
    )
    texts = [content for name, content in contents if name == f"{lease}.json"]
    if len(texts) != 1:
        raise CvlError(f"it holds no record{': ' + problems[0] if problems else ''}.")
    return WaitingRun(lease=lease, run=str(number), commit=commit, text=texts[0].decode("utf-8", "replace"))
