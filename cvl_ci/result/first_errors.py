"""Collect the lines in which a job reports its failure: the first errors and the first traceback. Pure."""

from __future__ import annotations

import collections
import re

MOST_ERRORS, MOST_FRAMES, LAST_LINES = 3, 16, 5
"""Of a longer traceback the end stays, because it names the error."""

_TRACEBACK = re.compile(r"(?P<before>.{0,60}?)Traceback \(most recent call last\):\s*$")
_ERROR = re.compile(
    r"^(ERROR|FATAL|FAILED|CRITICAL)\b|^E   \S"
    r"|\b(fatal|panic|[Ee]rror|ERROR): (?!\s*[\d.])"
    r"|\b[A-Z]\w*(Error|Exception)\b(:|$)"
    r"|\b(CUDA error|Segmentation fault|core dumped|command not found|No such file or directory|Permission denied)\b"
    r"|\b([Oo]ut of memory|No space left on device)\b"
    r"|^Killed\b"
)

_FRAME = re.compile(r'\s+File "(?P<path>[^"]{1,300})", line (?P<line>\d{1,9})\b')
_PLACE = re.compile(r"([\w./-]{1,200}\.py:\d{1,9}): \w*(?:Error|Exception|Failed)\b")
"""As pytest names the place of a failure, below its traceback."""
_LIBRARY = re.compile(r"site-packages/|dist-packages/|/lib/python|^<")
_WORKDIR = re.compile(r"^.*/sky_workdir/")
"""SkyPilot's folder of the user's files on the machine."""

_HINT = re.compile(
    "rror|RROR|FATAL|FAILED|CRITICAL|E   |fatal|panic|xception|fault|dumped|not found|No s|denied|memory|Killed"
)
"""A part of every line that the pattern above matches.

It is quicker to search in a job that prints millions of lines.
"""


class FirstErrors:
    """Collector that reads any number of lines and holds a few dozen."""

    def __init__(self, *, tail_lines: int = 0) -> None:
        """`tail_lines`: how many of the last lines it holds too."""
        self._tail: collections.deque[str] = collections.deque(maxlen=tail_lines)
        self.clear()

    def clear(self) -> None:
        """Forget all lines: those of another job come."""
        self._tail.clear()
        self._errors: list[str] = []
        self._last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._frames: collections.deque[str] = collections.deque(maxlen=MOST_FRAMES)
        self._prefix: str | None = None
        self._over = False
        self._place = ""

    @property
    def tail(self) -> tuple[str, ...]:
        return tuple(self._tail)

    def line(self, text: str) -> None:
        self._tail.append(text)
        if text.strip():
            self._last.append(text)
        if not self._place and (place := _PLACE.match(text)):
            self._place = place[1]
        if self._prefix is None:
            begins = _TRACEBACK.match(text) if "Traceback" in text else None
            if begins:
                self._prefix = begins["before"]
                self._frames.append(text.removeprefix(self._prefix))
            elif len(self._errors) < MOST_ERRORS and _HINT.search(text) and _ERROR.search(text):
                self._errors.append(text)
        elif not self._over:
            self._frame(text, self._prefix)

    def error_lines(self) -> tuple[str, ...]:
        """Return the error lines of the job, or its last lines where it printed no error."""
        return (*self._errors, *self._frames) or tuple(self._last)

    def first_error(self) -> str:
        """Return the one line that names the error, with the last place in the user's own files; empty: no error."""
        text = self._frames[-1] if self._over else next(iter(self._errors), "")
        place = f" ({self._place})" if self._place and self._place not in text else ""
        return f"{text.strip()}{place}" if text.strip() else ""

    def _frame(self, text: str, prefix: str) -> None:
        """Add a line of the traceback. A line without the traceback's prefix comes from another process."""
        if not text.startswith(prefix):
            return
        text = text.removeprefix(prefix)
        self._frames.append(text)
        frame = _FRAME.match(text)
        if frame and not _LIBRARY.search(frame["path"]):
            self._place = f"{_WORKDIR.sub('', frame['path'])}:{frame['line']}"
        self._over = bool(text.strip()) and not text.startswith((" ", "\t"))
