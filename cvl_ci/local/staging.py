"""Exactly the chosen files in a directory of their own, so that no ignore rule can remove one of them.

SkyPilot's rsync reads a `.gitignore` line such as `data/*` at any depth. With a `.skyignore` at the root it reads files
of that name instead, also at any depth. So staging writes each of them as a comment alone.
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
from cvl_ci.model.mount import UPLOADS_FOLDER
from cvl_ci.model.staged_files import Blob, CommitCopy, StagedFile

_COMMENT = "# Written by cvl-ci: all files of this directory go to the machine, in spite of any .gitignore.\n"
_NOT_UPLOADS = f"/{UPLOADS_FOLDER}\n"
"""The folders for a bucket do not go to the machine as well."""
_NOT_ITSELF = f"/{IGNORE_NOTHING}\n"
"""In a folder for a bucket: SkyPilot uploads all of it but this file (sky/data/storage_utils.py)."""


class LocalStaging:
    """The Staging port. `parent`: the folder for temporary directories; None: the system's own."""

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
            uploads = sorted((root / UPLOADS_FOLDER).glob("*"))
            rules = _COMMENT + (_NOT_UPLOADS if uploads else "")
            (root / IGNORE_NOTHING).write_text(rules, encoding="utf-8")
            for folder_of_bucket in uploads:
                (folder_of_bucket / IGNORE_NOTHING).write_text(_NOT_ITSELF, encoding="utf-8")
            yield root


def _copy(file: StagedFile, root: Path) -> None:
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts:
        raise CvlError(f"{file.path!r} is not a path inside the directory, so it is not staged.")
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.name == IGNORE_NOTHING:
        target.write_text(_COMMENT, encoding="utf-8")
        return
    try:
        copied = _write(file.source, target) if isinstance(file.source, Blob) else _copy_content(file.source, target)
    except OSError as error:
        raise CvlError(
            f"{file.path} cannot be read now: {error.strerror or error}.",
            next_step="Another program changed the files during staging: run it again.",
        ) from None
    if copied != file.bytes:
        raise CvlError(
            f"{file.path} changed during staging: it had {file.bytes} bytes in the list and has {copied} now.",
            next_step="Wait until no program writes there, and run it again.",
        )


def _copy_commit(copy: CommitCopy, folder: Path) -> None:
    """Write the commit's repository into the folder of its files.

    A part that the checkout lacks does not stop a run: the machine then has an empty repository
    (engine/machine/prelude.sh).
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        git = Git.at(Path(copy.root), need="only git holds a commit")
        write_commit(copy.commit, git=git, folder=copy.folder, into=folder)
    except CvlError:
        shutil.rmtree(folder / ".git", ignore_errors=True)


def _write(blob: Blob, target: Path) -> int:
    """Write a file as git checks it out: executable or not, and no other permission. Return its bytes."""
    with target.open("xb") as writing:
        count = Git.at(Path(blob.root), need="only git holds the files of a commit").copy_blob(blob.id, writing)
    target.chmod(0o755 if blob.executable else 0o644)
    return count


def _copy_content(source: str, target: Path) -> int:
    """Copy content and permission bits, and return the bytes. The source is not a link: the listing resolved it."""
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as reading:
        status = os.fstat(reading.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        with target.open("xb") as writing:
            shutil.copyfileobj(reading, writing, 1024 * 1024)
        target.chmod(stat.S_IMODE(status.st_mode) & 0o777 | 0o600)
        return target.stat().st_size
