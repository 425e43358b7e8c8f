"""The lock of a machine that waits between runs: a file next to the lease records, which the kernel frees."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cvl_ci.errors import EngineError
from cvl_ci.result.no_follow import LinkInTheWay, refuse_links


class FileKeyLock:
    """A lock that this process holds."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a forked child may hold the descriptor too
        os.close(self._descriptor)


class FileKeyLocks:
    """The KeyLocks port. All processes with this folder share its locks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def acquire(self, key: str) -> FileKeyLock | None:
        try:
            refuse_links(self._directory)
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._directory / f"{key}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (OSError, LinkInTheWay) as error:
            raise _refused(self._directory, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise _refused(self._directory, error) from error
        return FileKeyLock(descriptor)


def _refused(directory: Path, error: Exception) -> EngineError:
    return EngineError(
        f"The lock of the machine could not be taken in {directory}: {error}.",
        money="Nothing was requested. A machine that waits ends itself.",
        next_step=f"Make {directory} writable, on a disk of this computer.",
    )
