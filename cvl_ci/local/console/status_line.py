"""The lines at the bottom of a terminal, redrawn again and again, which move out of the way of other output."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable

REDRAWN_EVERY_SECONDS = 0.5
_ERASE = "\r\x1b[0m\x1b[2K"
_ERASE_ABOVE = "\x1b[1A\x1b[2K"
"""Go up by one line, and erase it: ECMA-48, CUU and EL."""


class StatusLine:
    """The status line, or several of them.

    `text` gives its present text; `write` goes to the terminal. Its thread never delays the exit.
    """

    def __init__(self, text: Callable[[], str], write: Callable[[str], None], *, width: int) -> None:
        self._text = text
        self._write = write
        self._width = width
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._height = 0
        """The number of lines that are drawn now."""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_drawing, name="status line", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        self.print_above(lambda: None)

    def print_above(self, print_something: Callable[[], None]) -> None:
        """Erase the line and print. The next tick draws it again: many lines, one redraw."""
        with self._lock:
            if self._height:
                self._write(self._erase())
                self._height = 0
            print_something()

    def draw(self) -> None:
        with self._lock:
            if not self._over.is_set():
                lines = [clip(line, self._width - 1) for line in self._text().split("\n")]
                self._write(self._erase() + "\n".join(lines))
                self._height = len(lines)

    def _erase(self) -> str:
        return _ERASE + _ERASE_ABOVE * max(0, self._height - 1)

    def _keep_drawing(self) -> None:
        while not self._over.wait(REDRAWN_EVERY_SECONDS):
            self.draw()


def clip(text: str, width: int) -> str:
    """Return the part that fits into this many columns. East Asian wide characters take two."""
    if sum(map(_columns, text)) <= width:
        return text
    characters, remaining = [], width - 1
    for character in text:
        remaining -= _columns(character)
        if remaining < 0:
            break
        characters.append(character)
    return "".join(characters) + "…"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
