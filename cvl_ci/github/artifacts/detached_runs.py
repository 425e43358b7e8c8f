"""Find the detached runs of a repository that wait for collect: each left an artifact with its lease record.

"List artifacts for a repository" (GET /repos/{owner}/{repo}/actions/artifacts). A workflow of a fork may upload an
artifact of any name. So one counts only if its run's commit is of this repository, and if its record names that run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvl_ci.errors import CvlError
from cvl_ci.github import client
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts.download import MOST_ARTIFACTS, READ, Artifact, Gathering
from cvl_ci.github.artifacts.unzip import files
from cvl_ci.model.lease_name import LEASE_PATTERN

WAITING, COLLECTED = "cvl-ci-detached-", "cvl-ci-collected-"
LARGEST_RECORD = 1 << 20
_WAITING = re.compile(rf"{WAITING}({LEASE_PATTERN})")
_COLLECTED = re.compile(rf"{COLLECTED}({LEASE_PATTERN})-cost(-\d+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class WaitingRun:
    """A detached run, as its artifact names it. `run`, `commit`: of its workflow, by GitHub's own word."""

    lease: str
    run: str
    commit: str
    text: str
    """Its lease record, which is not read yet."""


def waiting(repository: Repository, gathering: Gathering, *, say: Callable[[str], None]) -> list[WaitingRun]:
    """Return the runs that wait. Raise CvlError without an answer. `say`: artifacts that cannot be read, and why."""
    entries = list(repository.list_entries("/actions/artifacts", needs=READ, most=MOST_ARTIFACTS, key="artifacts"))
    entries = [entry for entry in entries if _is_own(entry)]
    names = [str(client.member(entry, "name", str, of="an artifact")) for entry in entries]
    collected = {match[1] for name in names if (match := _COLLECTED.fullmatch(name))}
    runs: dict[str, WaitingRun] = {}
    for name, entry in zip(names, entries, strict=True):
        match = _WAITING.fullmatch(name)
        if match is None or match[1] in collected or match[1] in runs:
            continue
        try:
            runs[match[1]] = _read(match[1], entry, gathering)
        except CvlError as error:
            say(f"The artifact {name} of a detached run could not be read: {error.what}")
    return list(runs.values())


def _is_own(entry: Mapping[str, Any]) -> bool:
    """Return whether the workflow's run is of a commit of this repository, and not of a fork."""
    run = entry.get("workflow_run")
    if not isinstance(run, Mapping):
        return False
    ids = run.get("repository_id"), run.get("head_repository_id")
    return isinstance(ids[0], int) and ids[0] == ids[1]


def _read(lease: str, entry: Mapping[str, Any], gathering: Gathering) -> WaitingRun:
    run = entry["workflow_run"]
    number, commit = run.get("id"), str(run.get("head_sha"))
    if not isinstance(number, int) or not _COMMIT.fullmatch(commit):
        raise CvlError("GitHub names no run and commit of it.")
    if entry.get("expired") is True:
        raise CvlError("its retention is over.")
    size = entry.get("size_in_bytes")
    one = Artifact(number=int(entry["id"]), name=str(entry["name"]), bytes=size if isinstance(size, int) else 0)
    problems: list[str] = []
    archive = gathering.archive(one)
    contents: Sequence[tuple[str, bytes]] = list(
        files(archive, endings=(".json",), largest=LARGEST_RECORD, say=problems.append)
    )
    texts = [content for name, content in contents if name == f"{lease}.json"]
    if len(texts) != 1:
        raise CvlError(f"it holds no record{': ' + problems[0] if problems else ''}.")
    return WaitingRun(lease=lease, run=str(number), commit=commit, text=texts[0].decode("utf-8", "replace"))
