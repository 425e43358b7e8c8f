"""Where the log of each run of this computer is: a file next to its lease record, locked while the run lives.

A second terminal finds the log by the lease's name. It reads files only, so that the run notices nothing of it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cvl_ci.ports import RunLog
from cvl_ci.result.no_follow import LinkInTheWay, refuse_links


class RunLogs:
    """The logs of all runs whose lease records are in one folder."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def announced(self, name: str, log: Path) -> Iterator[None]:
        """Write down where the log of a run is, and lock that file until the end of the block.

        A full disk ends no run: a second terminal then cannot find the log.
        """
        descriptor = None
        with suppress(OSError, LinkInTheWay):
            descriptor = self._announce(name, log)
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def names(self) -> Sequence[str]:
        """Return the name of each lease that this computer has a record or a log of."""
        try:
            paths = sorted(self._directory.iterdir())
        except OSError:
            return ()
        return tuple(dict.fromkeys(path.stem for path in paths if path.suffix in (".json", ".log")))

    def find(self, name: str) -> RunLog | None:
        """Return the log of this lease, or None where its run wrote none down. `name`: one of `names`."""
        pointer = self._directory / f"{name}.log"
        try:
            path = Path(pointer.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n"))
        except OSError:
            return None
        return RunLog(path=path, is_alive=lambda: _is_locked(pointer))

    def _announce(self, name: str, log: Path) -> int:
        """Lock the file before it has its name, so that no reader can come first."""
        refuse_links(self._directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        unnamed = self._directory / f".{name}.log.{secrets.token_hex(4)}"
        descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, os.fsencode(f"{log.absolute()}\n"))
            unnamed.replace(self._directory / f"{name}.log")
        except OSError:
            os.close(descriptor)
            unnamed.unlink(missing_ok=True)
            raise
        return descriptor


def _is_locked(path: Path) -> bool:
    """Whether a run holds its lock. A shared lock is enough to ask, and is gone with the file's end."""
    try:
        with path.open("rb") as pointer:
            fcntl.flock(pointer, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
