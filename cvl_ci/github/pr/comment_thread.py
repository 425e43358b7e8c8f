"""Write the comment next to the run: a thread writes the last text, and a slow API delays no machine.

A text that a later one replaced is never written. The last text always is, or `flush` reports that it was not: it waits
for it, and not for ever. The thread writes only the comment. Messages for a person wait until the caller asks for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Sticky(Protocol):
    """The part of a StickyComment that the thread needs. Only the thread calls it, except `silenced`."""

    @property
    def silenced(self) -> bool: ...

    @property
    def seconds_to_wait(self) -> float:
        """Return the seconds until the next text may be written, unless it is the last one."""

    def put(self, write: Callable[[str], str], *, last: bool = False, stays: str = "") -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class _Word:
    write: Callable[[str], str]
    stays: str


class CommentThread:
    """Daemon thread, started by the first text: it does not delay a process that must exit at once."""

    def __init__(self, discussion: Sticky) -> None:
        self._discussion = discussion
        self._changed = threading.Condition()
        self._word: _Word | None = None
        self._saying = False
        self._hurried = False
        self._thread: threading.Thread | None = None

    def put(self, write: Callable[[str], str], *, stays: str = "") -> None:
        """In place of a word that waits still. `write`, `stays`: as in StickyComment.put."""
        with self._changed:
            self._word = _Word(write=write, stays=stays)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_saying, name="comment", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, *, within: float) -> bool:
        """Write the last text without further delay. Return False if it is not written after so many seconds."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            is_written = self._changed.wait_for(lambda: self._word is None and not self._saying, timeout=within)
            self._hurried = False
            return is_written

    def _keep_saying(self) -> None:
        while True:
            word, last = self._next()
            address = self._discussion.put(word.write, last=last, stays=word.stays)
            with self._changed:
                self._saying = False
                if address is None and not last and self._word is None and not self._discussion.silenced:
                    self._word = word  # it did not get through: once more, when it may
                self._changed.notify_all()

    def _next(self) -> tuple[_Word, bool]:
        """Return the next text, and whether a caller waits for it."""
        with self._changed:
            while True:
                seconds = 0.0 if self._hurried else self._discussion.seconds_to_wait
                if self._word is not None and seconds <= 0:
                    break
                self._changed.wait(seconds if self._word is not None else None)
            word, self._word, self._saying = self._word, None, True
            return word, self._hurried
