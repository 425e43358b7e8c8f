"""Places for tests: as many tests work at the same time as there are places, and a test that only waits needs none.

script/test starts more processes than places. Without TEST_PLACES, as in one process, everyone has a place.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from pathlib import Path


class Places:
    """A number of places that the processes of one run share: locks on the bytes of one file."""

    def __init__(self, path: Path, number: int) -> None:
        self._path, self._number = path, number
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if number else -1
        self._held: int | None = None

    def acquire(self) -> None:
        """Wait for a place, where this process has none."""
        while self._number and self._held is None:
            self._held = next((place for place in range(self._number) if self._lock(place)), None)
            if self._held is None:
                time.sleep(0.2)

    def give_back(self) -> None:
        if self._held is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._held)
            self._held = None

    def remove(self) -> None:
        """Remove the file. Whoever has opened it still shares it."""
        if self._number:
            self.give_back()
            self._path.unlink(missing_ok=True)

    def _lock(self, place: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True


PLACES = Places(
    Path(tempfile.gettempdir(), f"cvl-ci-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', '')}"),
    int(os.environ.get("TEST_PLACES", "0")) if "PYTEST_XDIST_WORKER" in os.environ else 0,
)


def only_wait() -> None:
    """Give this test's place to another test: from here on, it waits for something to end by itself."""
    PLACES.give_back()
