"""The file with all lines of one job, without its secrets: a terminal scrolls away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO


class KeptLog:
    """A log file, created with its first line. `hide` masks secrets; `say` tells a person its path."""

    def __init__(self, path: Path, *, hide: Callable[[str], str], say: Callable[[str], None]) -> None:
        self._path = path
        self._hide = hide
        self._say = say
        self._file: IO[str] | None = None
        self._is_broken = False

    def line(self, text: str) -> None:
        """Add a line. A full disk does not end the run."""
        if self._is_broken:
            return
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a", encoding="utf-8", errors="replace", newline="", buffering=1)
                self._say(f"all lines of the job go to {self._path}")
            self._file.write(self._hide(text) + "\n")
        except OSError as error:
            self._is_broken = True
            self._say(f"further lines of the job cannot be written to {self._path}: {error}")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
