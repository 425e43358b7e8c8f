"""The checksums of a file's bytes, as they pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cvl_ci.model.snapshot import ModelFile

GIT_LETTERS = 40
"""The length of git's own id of a file."""


class Content:
    """The bytes of one file so far: their number, their SHA-256, and git's blob id where the hub names only that."""

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        self.length = 0
        self._sha256 = hashlib.sha256()
        # git's own object id is SHA-1 of a header and the bytes; the hub names small files by it.
        by_git = len(file.blob) == GIT_LETTERS
        self._git = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False) if by_git else None

    def add(self, piece: bytes | memoryview) -> None:
        self.length += len(piece)
        self._sha256.update(piece)
        if self._git is not None:
            self._git.update(piece)

    def add_all(self, pieces: Iterable[bytes]) -> Content:
        for piece in pieces:
            self.add(piece)
        return self

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def is_right(self) -> bool:
        """Whether these are exactly the bytes that the source named."""
        return self.is_also(self._file)

    def is_also(self, file: ModelFile) -> bool:
        """Return whether these are the bytes that another source names. A git id needs a file that has one."""
        own = self.sha256 if file.sha256 else self._git.hexdigest() if self._git is not None else ""
        return self.length == file.size and own == (file.sha256 or file.blob)
