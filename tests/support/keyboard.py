"""A person at a real terminal: a program whose controlling terminal is a pseudo-terminal, and the keys of that person.

A key goes through the kernel's terminal: Ctrl-C reaches each process in the foreground, as at a real terminal.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CTRL_C = b"\x03"
LINE_END = re.compile(rb"[\r\n]+")
"""A status line is drawn again and again after a carriage return: each drawing is a line of its own."""


@dataclass(frozen=True, kw_only=True)
class Keyboard:
    """The terminal of a program that runs. Its stdout is a pipe, so that the job's lines stay apart."""

    process: subprocess.Popen[str]
    master: int

    def press_ctrl_c(self) -> None:
        os.write(self.master, CTRL_C)

    def lines(self) -> Iterator[str]:
        """Return each line that the terminal shows, until every process has left the terminal. Close the terminal."""
        rest = b""
        while chunk := self._chunk():
            *end, rest = LINE_END.split(rest + chunk)
            yield from (line.decode(errors="replace") + "\n" for line in end)
        yield rest.decode(errors="replace")
        os.close(self.master)

    def _chunk(self) -> bytes:
        try:
            return os.read(self.master, 65_536)
        except OSError:  # Linux answers EIO once nothing has the other side open
            return b""


def start(words: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> Keyboard:
    """Start a program in the foreground of a new terminal. `setsid` makes its stdin the terminal, and becomes it."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *words],
        cwd=cwd,
        env=env,
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
    )
    os.close(slave)
    return Keyboard(process=process, master=master)
