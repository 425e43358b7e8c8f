"""Exactly the wanted files in a directory of their own, so that no ignore rule on the way can drop one of them.

SkyPilot's rsync reads a `.gitignore` line such as `data/*` at any depth. With a `.skyignore` at the root it reads files
of that name instead, at any depth too: so each of them is written here as a comment alone.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cvl_ci.errors import CvlError
from cvl_ci.local.git.commit_copy import IGNORE_NOTHING, write_commit
from cvl_ci.local.git.git import Git
from cvl_ci.model.plan import Blob, CommitCopy, StagedFile

_COMMENT = "# Written by cvl-ci: every file of this directory goes to the machine, whatever a .gitignore says.\n"


class LocalStaging:
    """`parent`: where the temporary directories are made; None: the system's place for such."""

    def __init__(self, *, parent: Path | None = None) -> None:
        self._parent = parent

    @contextmanager
    def staged(self, files: Sequence[StagedFile], *, commits: Sequence[CommitCopy] = ()) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="cvl-ci-", dir=self._parent, ignore_cleanup_errors=True) as folder:
            root = Path(folder)
            for file in files:
                _copy(file, root)
            for commit in commits:
                _copy_commit(commit, root / PurePosixPath(commit.path))
            (root / IGNORE_NOTHING).write_text(_COMMENT, encoding="utf-8")
            yield root


def _copy(file: StagedFile, root: Path) -> None:
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts:
        raise CvlError(f"{file.path!r} is no path inside a directory: it is not staged.")
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.name == IGNORE_NOTHING:
        target.write_text(_COMMENT, encoding="utf-8")
        return
    try:
        copied = _write(file.source, target) if isinstance(file.source, Blob) else _copy_content(file.source, target)
    except OSError as error:
        raise CvlError(
            f"{file.path} could not be read any more: {error.strerror or error}.",
            next_step="Something changed the files while they were being staged: run it again.",
        ) from None
    if copied != file.bytes:
        raise CvlError(
            f"{file.path} changed while it was being staged: {file.bytes} bytes when it was listed, {copied} now.",
            next_step="Wait until nothing writes there, and run it again.",
        )


def _copy_commit(copy: CommitCopy, folder: Path) -> None:
    """Write the commit's repository into a folder whose files are there. A part that the checkout lacks stops no run:
    the machine then has an empty repository (engine/machine/prelude.sh)."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        git = Git.at(Path(copy.root), need="only git holds a commit")
        write_commit(copy.commit, git=git, folder=copy.folder, into=folder)
    except CvlError:
        shutil.rmtree(folder / ".git", ignore_errors=True)


def _write(blob: Blob, target: Path) -> int:
    """As git gives a file that it checks out: what may be run may be run, and no more."""
    with target.open("xb") as writing:
        written = Git.at(Path(blob.root), need="only git holds the files of a commit").copy_blob(blob.id, writing)
    target.chmod(0o755 if blob.executable else 0o644)
    return written


def _copy_content(source: str, target: Path) -> int:
    """Content and permission bits. The source is no link: it was resolved when it was listed."""
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as reading:
        status = os.fstat(reading.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        with target.open("xb") as writing:
            shutil.copyfileobj(reading, writing, 1024 * 1024)
        target.chmod(stat.S_IMODE(status.st_mode) & 0o777 | 0o600)
        return target.stat().st_size
