"""The emulator as a process, from outside: find it, start it, end it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from cvl_ci.backoff import Pace
from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.sandbox_spec import LOG

FILE = "emulator.json"
MODULE = "cvl_ci.sandbox.emulator.main"
IN_FRONT = "--in-front"
"""The option for an emulator that must not go into the background: its container lives as long as it does."""
PACKAGES = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process number and its start time.

    A number alone may belong to another process by now; both together cannot.
    """

    pid: int
    start_time: str

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.start_time


def start_time(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return when the process began: boot and kernel ticks. None: the process does not exist or is a zombie."""
    try:
        fields = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def find(directory: Path, proc: Path = Path("/proc")) -> Process | None:
    """Return the emulator of this directory. Its command line identifies it, even without its record."""
    words = [b"-m", MODULE.encode(), os.fsencode(directory)]
    for entry in proc.glob("[0-9]*"):
        try:
            command_line = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        if command_line[1:] == words and (since := start_time(int(entry.name), proc)) is not None:
            return Process(pid=int(entry.name), start_time=since)
    return None


def start(directory: Path, environment: Mapping[str, str]) -> int:
    """Start the emulator in a session of its own and return its process id. The caller waits until it answers."""
    result = subprocess.run(
        [sys.executable, "-m", MODULE, str(directory)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        # The package may be a checkout that only the caller's path contains.
        env={
            **{key: value for key, value in environment.items() if not key.startswith("AWS_")},
            "PYTHONPATH": str(PACKAGES),
        },
        check=False,
    )
    if result.returncode:
        raise SandboxError(
            f"The emulated cloud did not start: {(result.stderr.strip().splitlines() or ['it printed nothing'])[-1]}",
            next_step="Install what it needs: pip install 'cvl-ci[sandbox]'.",
        )
    return int(result.stdout)


def kill(process: Process) -> None:
    """Kill the process and wait until it has ended."""
    if process.alive:
        try:
            os.kill(process.pid, SIGKILL)
        except ProcessLookupError:
            return
    wait_gone(process, seconds=5.0)


def wait_gone(process: Process, *, seconds: float) -> bool:
    return any(not process.alive for _ in Pace(every_seconds=0.02, within_seconds=seconds).ticks())


def log_tail(directory: Path, lines: int = 6) -> str:
    try:
        lines_of_log = (directory / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "  (there is no log)"
    return "\n".join(f"  {line}" for line in lines_of_log[-lines:])
