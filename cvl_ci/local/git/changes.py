"""What changed since a commit, and which commits came before it, asked of git: nothing of the repository is run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cvl_ci.errors import CvlError, Mistake, RequestError
from cvl_ci.local.git.git import quiet

MOST_ANCESTORS = 200
_DEEPER = "A shallow checkout lacks it: `fetch-depth: 0` for actions/checkout brings all."


def changed_paths(root: Path, *, since: str) -> Sequence[str]:
    """Paths, relative and posix, that differ from where this checkout left `since`: a branch that went on since then
    does not make everything changed. New files count, ignored ones do not."""
    start = _commit(root, since, field="--changed-since")
    ours = _git(root, "merge-base", start, "HEAD").strip() or start
    diff = ("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
    changed = _git(root, *diff, ours, "--")
    new = _git(root, "ls-files", "-z", "-o", "--exclude-standard")
    return sorted({path for path in (changed + new).split("\0") if path})


def ancestors(root: Path, *, of: str, most: int = MOST_ANCESTORS) -> Sequence[str]:
    """The commit and those before it, nearest first; of a merge the side it was merged into."""
    commit = _commit(root, of, field="--base")
    return _git(root, "rev-list", "--first-parent", f"--max-count={most}", commit, "--").split()


def _commit(root: Path, ref: str, *, field: str) -> str:
    found = _run(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found.returncode != 0:
        raise RequestError([Mistake(field=field, value=ref, problem="is no commit here")], next_step=_DEEPER)
    return os.fsdecode(found.stdout).strip()


def _git(root: Path, *words: str) -> str:
    done = _run(root, *words)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise CvlError(f"git {words[0]} failed in {root}: {said[0] if said else 'no reason given'}", next_step=_DEEPER)
    return os.fsdecode(done.stdout)


def _run(root: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    git = shutil.which("git")
    if git is None:
        raise CvlError("git is not installed here, and only git knows what changed.")
    return subprocess.run([git, "-C", str(root), *words], env=quiet(git), capture_output=True, check=False)
