"""A process with all that it has started: its lines as they come, and signals to it alone or to all of them."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class Family:
    """In a session of its own. Its lines are read by a thread, so that it never waits for us."""

    def __init__(self, words: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self.began = time.monotonic()
        self.ended: float | None = None
        self.lines: list[str] = []
        self._log = log
        self._new: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until(self, wanted: Callable[[str], bool], *, within: float) -> bool:
        """Whether it has said such a line, before its end and before that many seconds are over."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._new.get(timeout=left)
            except queue.Empty:
                return False
            if line is None:
                return False
            if wanted(line):
                return True
        return False

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def signal_all(self, number: int) -> None:
        """The eldest first, so that none of them is started anew."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self, *, within: float) -> int | None:
        """Its exit code; None: it has not ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout=within)
            self.ended = self.ended or time.monotonic()
            self._reader.join(timeout=5)
            return code
        return None

    def end(self) -> None:
        """Nothing of it runs afterwards."""
        self.signal_all(signal.SIGKILL)
        self.process.wait()

    def end_all(self, once: Sequence[int]) -> None:
        """And those that had been its own before it was killed, and live on: nobody else's, for they are of its session
        or of one that these began."""
        for pid in once:
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(pid) in {self.process.pid, *once}:
                    os.kill(pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream, self._log.open("w", encoding="utf-8") as log:
            for line in stream:
                self.lines.append(line)
                log.write(line)
                log.flush()
                self._new.put(line)
        self.process.wait()
        self.ended = self.ended or time.monotonic()
        self._new.put(None)


def descendants(pid: int) -> list[int]:
    """Of whatever session they are, the worker's processes among them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        of = children.get(left.pop(), [])
        found += of
        left += of
    return found
