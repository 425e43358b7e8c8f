"""Hold the files that go to the machine. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Content of a file in git's store, by its id, in the repository at `root`."""

    root: str
    id: str
    executable: bool = False


@dataclass(frozen=True, kw_only=True)
class CommitCopy:
    """A repository of one commit without its file contents, for the machine (local/git/commit_copy.py).

    `path`: the folder among the staged files that gets it. `root`: the repository here. `commit`: its full name.
    `folder`: the folder of the repository that is staged there, relative to `root`; `.` for all of it.
    """

    path: str
    root: str
    commit: str
    folder: str = "."


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """One file for the machine: `path` relative and posix, `source` absolute on this computer, or a blob."""

    path: str
    source: str | Blob
    bytes: int
