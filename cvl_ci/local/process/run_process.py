"""A real `cvl-ci run` in a session of its own, for a caller who will kill it: its lines, its phase, its end.

Each process that it starts has our mark in its environment. So all of them can be found, even in sessions of
their own. On a system without /proc only those of its own session can.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from cvl_ci.backoff import Pace
from cvl_ci.local.console.terminal import ACTIVITIES
from cvl_ci.model.lease_name import LEASE_PATTERN
from cvl_ci.model.outcome import Phase

MARK = "CVL_CI_CHILD"
PROGRAM = (
    sys.executable,
    *(("-I",) if sys.flags.isolated else ()),
    "-c",
    "import sys; from cvl_ci.cli.main import main; sys.exit(main(sys.argv[1:]))",
)
_PROCESSES = Path("/proc")
_KILLED = Pace(every_seconds=0.02)
"""The looks for processes that began while others were killed."""
_OWN_LINE = re.compile(r"\[[^\]]*\] (?P<text>.*)")
_LEASE = re.compile(rf"lease (?P<name>{LEASE_PATTERN}): ")
_ASKING = re.compile(r"asking \S+ for ")
_PHASES = {doing: phase for phase, doing in ACTIVITIES.items()}
_ORDER = list(Phase)


class Child:
    """A `cvl-ci` process, and all that it starts.

    `words`: the arguments. `hear` receives each line of cvl-ci at once, from another thread.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        hear: Callable[[str], None] = lambda _: None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._mark = secrets.token_hex(8)
        self._hear = hear
        self._news = threading.Condition()
        self.lines: list[str] = []
        """The lines of cvl-ci so far (stderr). Those of the job are in `printed`."""
        self.printed: list[str] = []
        self.lease = ""
        """The lease's name, from the child's own line; empty before it."""
        self.phase: Phase | None = None
        """The last phase that it has reached."""
        self.has_requested = False
        """Whether it has requested a machine from a provider: from then on there can be one."""
        self._process = subprocess.Popen(
            [*program, *words],
            cwd=folder,
            env={**environment, MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, line), daemon=True)
            for stream, line in ((self._process.stdout, self.printed.append), (self._process.stderr, self._line))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_for_phase(self, phase: Phase, *, within: float) -> bool:
        """Wait until the phase, or a later one. False: it ended earlier, or did not get so far in these seconds."""
        return self.wait_until(
            lambda: self.phase is not None and _ORDER.index(self.phase) >= _ORDER.index(phase), within
        )

    def wait_until(self, condition: Callable[[], bool], within: float) -> bool:
        """Wait for a condition, checked with each line and again after the end. False: it never held."""
        deadline = time.monotonic() + within
        with self._news:
            while not condition():
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not (self.alive or any(reader.is_alive() for reader in self._readers)):
                    return condition()
                self._news.wait(min(remaining, 0.5))
        return True

    def send(self, number: int) -> None:
        """Send a signal to the one process that a person or a runner knows."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill that process alone; its children must notice by themselves."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def kill_all(self) -> None:
        """Kill everything, as when the runner disappears: no process of it survives, in any session."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        while numbers := self.processes():
            for number in numbers:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            _KILLED.pause()
        self._process.wait()

    def processes(self) -> list[int]:
        """Return the numbers of all living processes with the mark."""
        mark, numbers = f"{MARK}={self._mark}".encode(), []
        for folder in _PROCESSES.glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    numbers.append(int(folder.name))
        return numbers

    def wait(self, *, within: float) -> int | None:
        """Return the exit code as a shell has it (137: SIGKILL). None: it still runs."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None
        for reader in self._readers:
            reader.join(1.0)
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """Kill all its processes. That says nothing about machines on a cloud."""
        self.kill_all()
        for reader in self._readers:
            reader.join(1.0)

    def _read(self, stream: IO[str], line: Callable[[str], None]) -> None:
        with suppress(ValueError), stream:
            for text in stream:
                line(text.rstrip("\n"))
        with self._news:
            self._news.notify_all()

    def _line(self, text: str) -> None:
        match = _OWN_LINE.match(text)
        words = match["text"] if match else text
        with self._news:
            self.lines.append(text)
            lease, phase = _LEASE.match(words), _PHASES.get(words)
            self.lease = lease["name"] if lease else self.lease
            self.has_requested = self.has_requested or _ASKING.match(words) is not None
            if phase is not None and (self.phase is None or _ORDER.index(phase) > _ORDER.index(self.phase)):
                self.phase = phase
            self._news.notify_all()
        self._hear(text)
