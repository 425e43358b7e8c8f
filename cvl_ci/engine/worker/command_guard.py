"""End the commands of a worker that has died, by one process for all commands.

SkyPilot 0.14.1 starts a Python program next to each command on a machine (sky/skylet/subprocess_daemon.py). Its start
takes about 60 ms of processor, and it looks at all processes once a second. A launch has dozens of commands, and a
further job has four. Here one program knows them all. In the worker process; this file is the program too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable

LOOK_SECONDS = 1.0
GRACE_SECONDS = 30.0
"""A command has this long to end after SIGTERM, as with SkyPilot."""


class CommandGuard:
    """The program that guards the commands of this process. `otherwise`: SkyPilot's way, where it does not run."""

    def __init__(self, otherwise: Callable[..., None]) -> None:
        self._otherwise = otherwise
        self._starting = threading.Lock()
        self._entrance = -1

    def guard(self, pid: int, **options: bool) -> None:
        """Let the command end with this process. `pid`: of a command that leads a group of processes."""
        start = start_of(pid)
        if not start:
            return  # it has ended
        try:
            os.write(self._open(), f"{pid} {start}\n".encode("ascii"))  # so short a write is one piece
        except OSError:
            self._otherwise(pid, **options)

    def _open(self) -> int:
        with self._starting:
            if self._entrance < 0:
                self._entrance = open_program()
            return self._entrance


def open_program() -> int:
    """Start the program. Return the descriptor that takes its lines."""
    own, reader_writer = os.getpid(), os.pipe()
    words = [sys.executable, "-I", __file__, str(own), start_of(own)]
    quiet = subprocess.DEVNULL
    try:
        # Its parent process ends at once. SkyPilot ends all children of this process after each set-up.
        subprocess.run(
            words, stdin=reader_writer[0], stdout=quiet, stderr=quiet, cwd="/", start_new_session=True, check=False
        )
    finally:
        os.close(reader_writer[0])
    return reader_writer[1]


def provide() -> None:
    """Let one program guard all commands of SkyPilot in this process."""
    from sky.utils import subprocess_utils

    original = getattr(subprocess_utils.kill_process_daemon, "original", subprocess_utils.kill_process_daemon)
    guard = CommandGuard(original)

    def kill_process_daemon(process_pid: int, use_kill_pg: bool = False) -> None:
        guard.guard(process_pid, use_kill_pg=use_kill_pg)

    kill_process_daemon.original = original  # type: ignore[attr-defined]
    subprocess_utils.kill_process_daemon = kill_process_daemon  # log_lib calls it by its module


def start_of(pid: int) -> str:
    """Return when a process began, in ticks since boot; empty: it has ended. A number may serve a later process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        state, *rest = file.read().rpartition(b")")[2].split()
        return "" if state in {b"Z", b"X"} else rest[18].decode("ascii")
    return ""


def end(commands: Iterable[tuple[int, str]]) -> None:
    """End the groups of the commands that still run: SIGTERM first, and SIGKILL after the grace."""
    alive, until = set(commands), time.monotonic() + GRACE_SECONDS
    number = signal.SIGTERM
    while alive := {(pid, start) for pid, start in alive if start_of(pid) == start}:
        if number == signal.SIGTERM or time.monotonic() > until:
            for pid, _ in alive:
                with contextlib.suppress(OSError):
                    os.killpg(pid, number)
            if number == signal.SIGKILL:
                return
            number = signal.SIGKILL
        time.sleep(0.1)


def watch(worker: tuple[int, str]) -> None:
    """Read the commands from stdin, until it ends or the worker is gone. Then end those that still run."""
    commands: set[tuple[int, str]] = set()
    rest = b""
    while start_of(worker[0]) == worker[1]:
        if not select.select([0], [], [], LOOK_SECONDS)[0]:
            continue
        data = os.read(0, 1 << 12)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        commands = {(pid, start) for pid, start in commands if start_of(pid) == start}
        for line in lines:
            pid, _, start = line.decode("ascii").partition(" ")
            commands.add((int(pid), start))
    end(commands)


def main() -> None:
    if os.fork() == 0:
        watch((int(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    main()
