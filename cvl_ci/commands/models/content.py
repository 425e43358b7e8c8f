"""The checksums of a file's bytes, as they pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cvl_ci.model.snapshot import ModelFile


class Content:
    """The bytes of one file so far: their number, their SHA-256, and git's blob id where the hub names only that."""

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        self.length = 0
        self._sha256 = hashlib.sha256()
        # git's own object id is SHA-1 of a header and the bytes; the hub names small files by it.
        self._git = None if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

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
        named = self._file.sha256 or self._file.blob
        own = self._git.hexdigest() if self._git is not None else self.sha256
        return self.length == self._file.size and own == named
