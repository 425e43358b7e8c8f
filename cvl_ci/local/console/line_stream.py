"""A text stream that may close or refuse a character. Neither must end a run that pays for machines."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO


class Stream:
    """A stream that writes until its reader has gone; then it writes nothing, and `broken` is true."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.broken = False

    @property
    def tty(self) -> bool:
        with suppress(ValueError):
            return self._stream.isatty()
        return False

    def write(self, text: str) -> None:
        if self.broken:
            return
        try:
            self._stream.write(self._encodable(text))
            self._stream.flush()
        except (OSError, ValueError):
            self.broken = True
            self._silence()

    def _encodable(self, text: str) -> str:
        """Return the text. A character that the stream's encoding lacks appears as its number."""
        encoding = self._stream.encoding or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def _silence(self) -> None:
        """Redirect the stream to nowhere: otherwise Python's flush at exit would turn our exit code into 120."""
        with suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
