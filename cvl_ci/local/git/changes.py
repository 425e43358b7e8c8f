"""The changed paths and the ancestors of a commit, from git: nothing of the repository runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.local.git.git import Git

MOST_ANCESTORS = 200
_DEEPER = "A shallow checkout lacks it: `fetch-depth: 0` for actions/checkout brings all."
_DIFF = (
    *("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv"),
    "--ignore-submodules=dirty",  # otherwise git runs in the submodule, with its configuration and none of our settings
)


def changed_paths(root: Path, *, since: str) -> Sequence[str]:
    """Return the paths, relative and posix, that differ from the commit where this checkout left `since`.

    A branch that went on since then does not make everything changed. New files count, ignored ones do not.
    """
    git = _git(root)
    start = _commit(git, since, field="--changed-since")
    base = _text(git, "merge-base", start, "HEAD").strip() or start
    changed = _text(git, *_DIFF, base, "--")
    new = _text(git, "ls-files", "-z", "-o", "--exclude-standard")
    return sorted({path for path in (changed + new).split("\0") if path})


def ancestors(root: Path, *, of: str, most: int = MOST_ANCESTORS) -> Sequence[str]:
    """Return the commit and its first parents, nearest first."""
    git = _git(root)
    commit = _commit(git, of, field="--base")
    return _text(git, "rev-list", "--first-parent", f"--max-count={most}", commit, "--").split()


def _git(root: Path) -> Git:
    return Git.at(root, need="only git knows what changed")


def _commit(git: Git, ref: str, *, field: str) -> str:
    commit = git.commit_of(ref)
    if not commit:
        raise RequestError([InputProblem(field=field, value=ref, problem="is not a commit here")], next_step=_DEEPER)
    return commit


def _text(git: Git, *words: str) -> str:
    try:
        return os.fsdecode(git.read_files(*words))
    except CvlError as error:
        raise CvlError(error.what, next_step=_DEEPER) from None
