"""One line at the bottom of a terminal, redrawn again and again, which moves out of the way of other output."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable

REDRAWN_EVERY_SECONDS = 0.5
_ERASE = "\r\x1b[0m\x1b[2K"


class StatusLine:
    """The status line.

    `text` gives its present text; `write` goes to the terminal. Its thread never delays the exit.
    """

    def __init__(self, text: Callable[[], str], write: Callable[[str], None], *, width: int) -> None:
        self._text = text
        self._write = write
        self._width = width
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._drawn = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_drawing, name="status line", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        self.aside(lambda: None)

    def aside(self, print_something: Callable[[], None]) -> None:
        """Erase the line and print. The next tick draws it again: many lines, one redraw."""
        with self._lock:
            if self._drawn:
                self._write(_ERASE)
                self._drawn = False
            print_something()

    def draw(self) -> None:
        with self._lock:
            if not self._over.is_set():
                self._write(_ERASE + clip(self._text(), self._width - 1))
                self._drawn = True

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
