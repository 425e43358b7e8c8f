"""Run one job on the only node of its cluster, where SkyPilot starts a program of Ray.

A program of its own for SkyPilot's Python on the machine, which loads the standard library alone. SkyPilot's daemon
starts and ends it as a driver of SkyPilot, and its log and its records are in SkyPilot's form. job_driver.py writes the
call of `main` at its end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 40.0
"""A cancelled job has this long to end. The supervisor gives its processes 30 s, and kills them after that."""
REST_SECONDS = 0.2
"""A process that outlives its job may hold the job's pipe: an empty pipe is at its end so long after the job."""
LONGEST_PARTIAL = 1 << 16
"""The most bytes of a line without an end that wait for the rest."""
OPEN = ("INIT", "PENDING", "SETTING_UP", "RUNNING")
"""The states of a job that is not over: sky/skylet/job_lib.py, JobStatus."""
UPDATES = {
    "start_at": "UPDATE jobs SET status = ?, start_at = ? WHERE job_id = ? AND status IN (?, ?, ?, ?)",
    "end_at": "UPDATE jobs SET status = ?, end_at = ? WHERE job_id = ? AND status IN (?, ?, ?, ?)",
}
OF_THE_DAEMON = ("SKYPILOT_", "BUILDKITE")
"""Variables of SkyPilot's daemon, which a job under Ray does not get."""
NO_TERMINAL = (b"bash: cannot set terminal process group", b"bash: no job control in this shell")
"""The first lines of an interactive bash without a terminal. SkyPilot removes them too."""


def main(*, job: int, name: str, script: str, first_lines: list[str], last_line: str) -> None:
    """Run the job, and record its end. `first_lines`, `last_line`: the lines of the log around the job's own."""
    os.unlink(sys.argv[0])  # it holds the job's secrets, and every user of the machine can read it
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    cancellation = Cancellation()
    signal.signal(signal.SIGTERM, cancellation.note)
    write("".join(f"{line}\n" for line in first_lines).encode())
    if not record(job, "RUNNING", "start_at"):
        sys.exit(1)  # it was cancelled before it began
    code = run(script, name, cancellation)
    with contextlib.suppress(sqlite3.Error):  # the node's own file decides how the job ended
        record(job, "FAILED" if code else "SUCCEEDED", "end_at")
    write(f"{last_line}\n".encode())
    sys.exit(1 if code else 0)


class Cancellation:
    """Whether SkyPilot cancelled the job. `at`: when, in monotonic seconds."""

    def __init__(self) -> None:
        self.at: float | None = None

    def note(self, _number: int, _frame: object) -> None:
        if self.at is None:
            self.at = time.monotonic()
            end_descendants(signal.SIGTERM)

    def kill_late(self) -> None:
        if self.at is not None and time.monotonic() - self.at > GRACE_SECONDS:
            end_descendants(signal.SIGKILL)


def run(script: str, name: str, cancellation: Cancellation) -> int:
    """Run the shell text to its end, and copy its output with SkyPilot's prefix. Return its exit code."""
    with tempfile.NamedTemporaryFile("w", prefix="sky_app_", encoding="utf-8") as file:
        file.write(script)
        file.flush()
        process = subprocess.Popen(
            ["/bin/bash", "-i", file.name],
            env={name: value for name, value in os.environ.items() if not name.startswith(OF_THE_DAEMON)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        lines = PrefixedLines(f"({name}, pid={process.pid}) ".encode())
        if process.stdout is not None:
            copy(process, process.stdout.fileno(), lines, cancellation)
        lines.close()
        return process.wait()


def copy(process: subprocess.Popen[bytes], source: int, lines: PrefixedLines, cancellation: Cancellation) -> None:
    rest = 1 << 20  # a pipe holds less
    while rest > 0:
        is_over = process.poll() is not None
        cancellation.kill_late()
        if not select.select([source], [], [], REST_SECONDS)[0]:
            if is_over:
                return
            continue
        data = os.read(source, 1 << 16)
        if not data:
            return
        rest -= len(data) if is_over else 0
        lines.add(data)


class PrefixedLines:
    """The job's output as lines with a prefix."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix, self._partial, self._is_begun, self._is_first = prefix, b"", False, True

    def add(self, data: bytes) -> None:
        *complete, self._partial = (self._partial + data).split(b"\n")
        text = b"".join(map(self._line, complete))
        if len(self._partial) > LONGEST_PARTIAL:
            text += self._begin() + self._partial
            self._partial, self._is_begun = b"", True
        write(text)

    def close(self) -> None:
        if self._partial or self._is_begun:
            write(self._line(self._partial))

    def _line(self, line: bytes) -> bytes:
        if self._is_first and line.startswith(NO_TERMINAL):
            return b""
        begin, self._is_begun, self._is_first = self._begin(), False, False
        return begin + line.removesuffix(b"\r") + b"\n"

    def _begin(self) -> bytes:
        return b"" if self._is_begun else self._prefix


def write(data: bytes) -> None:
    with contextlib.suppress(OSError):  # a full disk is the job's problem, and not a reason to end it
        while data:
            data = data[os.write(1, data) :]


def record(job: int, state: str, moment: str) -> bool:
    """Write a state of the job into SkyPilot's records. False: the job is over there already."""
    folder = os.path.expanduser(os.environ.get("SKY_RUNTIME_DIR") or "~")
    with contextlib.closing(sqlite3.connect(os.path.join(folder, ".sky", "jobs.db"), timeout=60)) as records:
        count = records.execute(UPDATES[moment], (state, time.time(), job, *OPEN)).rowcount
        records.commit()
        return count == 1


def end_descendants(number: int) -> None:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                children.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(entry))
    ahead = [os.getpid()]
    while ahead:
        for pid in children.get(ahead.pop(), ()):
            ahead.append(pid)
            with contextlib.suppress(OSError):
                os.kill(pid, number)
