"""A real `cvl-ci run` in a session of its own, for who means to kill it: its lines, how far it is, its end.

Every process it starts carries a mark of ours in its environment: that is how all of them are found, whatever session
they have made their own. On a system without /proc only those of its own session are.
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

from cvl_ci.local.console.terminal import DOING
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
_OURS = re.compile(r"\[[^\]]*\] (?P<text>.*)")
_LEASE = re.compile(rf"lease (?P<name>{LEASE_PATTERN}): ")
_ASKING = re.compile(r"asking \S+ for ")
_PHASES = {doing: phase for phase, doing in DOING.items()}
_ORDER = list(Phase)


class Child:
    """`words`: what follows the program's name. `hear`: each line of ours as it comes, from another thread."""

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
        self.said: list[str] = []
        """Our lines so far (stderr); what the job printed is in `printed`."""
        self.printed: list[str] = []
        self.lease = ""
        """By its own word; empty until it is said."""
        self.phase: Phase | None = None
        """The farthest it has come."""
        self.asked = False
        """A provider was asked for a machine: from then on there can be one."""
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

    def reaches(self, phase: Phase, *, within: float) -> bool:
        """Waits until it is there, or beyond; False: it ended before, or did not come so far in these seconds."""
        return self.comes_to(lambda: self.phase is not None and _ORDER.index(self.phase) >= _ORDER.index(phase), within)

    def comes_to(self, there: Callable[[], bool], within: float) -> bool:
        """Asked with each line, and once more when it has ended."""
        deadline = time.monotonic() + within
        with self._news:
            while not there():
                left = deadline - time.monotonic()
                if left <= 0 or not (self.alive or any(reader.is_alive() for reader in self._readers)):
                    return there()
                self._news.wait(min(left, 0.5))
        return True

    def send(self, number: int) -> None:
        """To the one process that a person or a runner knows."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL to that process alone; what it has started is left to find out for itself."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def lose(self) -> None:
        """As when the runner is gone: no process of it is alive afterwards, whatever session it is in."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        while found := self.processes():
            for number in found:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.02)
        self._process.wait()

    def processes(self) -> list[int]:
        """All that carry the mark and are alive."""
        sought, found = f"{MARK}={self._mark}".encode(), []
        for folder in _PROCESSES.glob("[0-9]*"):
            with suppress(OSError):
                if sought in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def wait(self, *, within: float) -> int | None:
        """Its exit code, as a shell has it (137: SIGKILL). None: it is still at work."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None
        for reader in self._readers:
            reader.join(1.0)
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """Nothing of it is alive afterwards; of machines on a cloud that says nothing."""
        self.lose()
        for reader in self._readers:
            reader.join(1.0)

    def _read(self, stream: IO[str], line: Callable[[str], None]) -> None:
        with suppress(ValueError), stream:
            for text in stream:
                line(text.rstrip("\n"))
        with self._news:
            self._news.notify_all()

    def _line(self, text: str) -> None:
        match = _OURS.match(text)
        words = match["text"] if match else text
        with self._news:
            self.said.append(text)
            lease, phase = _LEASE.match(words), _PHASES.get(words)
            self.lease = lease["name"] if lease else self.lease
            self.asked = self.asked or _ASKING.match(words) is not None
            if phase is not None and (self.phase is None or _ORDER.index(phase) > _ORDER.index(self.phase)):
                self.phase = phase
            self._news.notify_all()
        self._hear(text)
