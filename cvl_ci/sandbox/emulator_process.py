"""The emulator as a process seen from outside: is it there, is it really that one, start it, end it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.sandbox_spec import LOG

FILE = "emulator.json"
MODULE = "cvl_ci.sandbox.emulator.main"
IN_FRONT = "--in-front"
"""Said to an emulator that shall not go into the background: its container lives as long as it does."""
PACKAGES = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Process:
    """A number alone may belong to somebody else by now; a number and a start time may not."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        return started(self.pid) == self.started


def started(pid: int, proc: Path = Path("/proc")) -> str | None:
    """When the process began, as the kernel counts, in which boot. None: there is none, or it only awaits burial."""
    try:
        fields = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def found(directory: Path, proc: Path = Path("/proc")) -> Process | None:
    """The emulator of this directory, whatever became of its record: it is known by the words it was started with."""
    words = [b"-m", MODULE.encode(), os.fsencode(directory)]
    for entry in proc.glob("[0-9]*"):
        try:
            spoken = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        if spoken[1:] == words and (since := started(int(entry.name), proc)) is not None:
            return Process(pid=int(entry.name), started=since)
    return None


def start(directory: Path, environment: Mapping[str, str]) -> int:
    """Its process id. It goes on by itself, in a session of its own; whether it comes up is for the caller to await."""
    done = subprocess.run(
        [sys.executable, "-m", MODULE, str(directory)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        # The package may be a checkout that only the caller's path finds.
        env={
            **{key: value for key, value in environment.items() if not key.startswith("AWS_")},
            "PYTHONPATH": str(PACKAGES),
        },
        check=False,
    )
    if done.returncode:
        raise SandboxError(
            f"The emulated cloud did not start: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}",
            next_step="Install what it needs: pip install 'cvl-ci[sandbox]'.",
        )
    return int(done.stdout)


def kill(process: Process) -> None:
    """At once, and wait for it to be gone."""
    if process.alive:
        try:
            os.kill(process.pid, SIGKILL)
        except ProcessLookupError:
            return
    wait_gone(process, seconds=5.0)


def wait_gone(process: Process, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    return not process.alive


def last_words(directory: Path, lines: int = 6) -> str:
    try:
        said = (directory / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "  (it left no log)"
    return "\n".join(f"  {line}" for line in said[-lines:])
