"""The file that holds every line of one job, without its secrets: a terminal scrolls away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO


class KeptLog:
    """A file that is made with its first line. `hide` takes secrets out of a line; `say` tells a person where it is."""

    def __init__(self, path: Path, *, hide: Callable[[str], str], say: Callable[[str], None]) -> None:
        self._path = path
        self._hide = hide
        self._say = say
        self._file: IO[str] | None = None
        self._is_broken = False

    def line(self, text: str) -> None:
        """A full disk ends no run."""
        if self._is_broken:
            return
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a", encoding="utf-8", errors="replace", newline="", buffering=1)
                self._say(f"every line of the job is kept in {self._path}")
            self._file.write(self._hide(text) + "\n")
        except OSError as error:
            self._is_broken = True
            self._say(f"the lines of the job can no longer be kept in {self._path}: {error}")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
