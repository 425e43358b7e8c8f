"""A folder of this computer as the place of checkpoints: on a machine without a bucket, and on the runner for its copy.

A program for the machine's own Python, and a module of cvl-ci's engine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence

LARGEST_MANIFEST = 64 << 20
_PASSING = ".cvl-ci.tmp"


class Folder:
    """The Store of sync.py: files below a folder. A file is replaced by a rename, whole or not at all."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def put(self, key: str, content: bytes) -> None:
        path = self._path(key)
        with open(f"{path}{_PASSING}", "wb") as file:
            file.write(content)
        os.replace(f"{path}{_PASSING}", path)

    def put_file(self, key: str, path: str) -> None:
        """Copy: the job may change a file in place, and a link would then change with it."""
        target = self._path(key)
        try:
            shutil.copyfile(path, f"{target}{_PASSING}")
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(f"{target}{_PASSING}")
            raise
        os.replace(f"{target}{_PASSING}", target)

    def get(self, key: str) -> bytes | None:
        try:
            with open(os.path.join(self.folder, key), "rb") as file:
                return file.read(LARGEST_MANIFEST)
        except FileNotFoundError:
            return None

    def get_file(self, key: str, path: str) -> None:
        try:
            shutil.copyfile(os.path.join(self.folder, key), path)
        except FileNotFoundError as error:
            if os.path.lexists(os.path.join(self.folder, key)):
                raise
            raise KeyError(key) from error

    def keys(self, prefix: str) -> Sequence[str]:
        keys = []
        for above, _, names in os.walk(self.folder):
            for name in names:
                key = os.path.relpath(os.path.join(above, name), self.folder).replace(os.sep, "/")
                if key.startswith(prefix) and not key.endswith(_PASSING):
                    keys.append(key)
        return sorted(keys)

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, key))

    def _path(self, key: str) -> str:
        path = os.path.join(self.folder, key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path
