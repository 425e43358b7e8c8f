"""A text stream that may close or refuse a character at any time, which must never end a run that pays for machines."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO


class Stream:
    """Writes as long as somebody reads; after that it is silent, and `broken` says so."""

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
        """What this stream's encoding lacks is shown by number."""
        encoding = self._stream.encoding or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def _silence(self) -> None:
        """Python flushes its streams at exit, and would turn our exit code into 120: give it somewhere to flush to."""
        with suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
