"""Run a job on the only node of its cluster, where SkyPilot starts a program of Ray.

A program of its own for SkyPilot's Python on the machine, which loads the standard library alone. SkyPilot's daemon
starts and ends it. Its log and its records are in SkyPilot's form. job_driver.py writes the call of `main` at its end.
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
KILL_SECONDS = 5.0
"""A program that does not end, such as root's, does not hold up the end of the job longer."""
REST_SECONDS = 0.2
"""A process that outlives its job may hold the job's pipe. An empty pipe counts as closed so long after the job."""
LONGEST_PARTIAL = 1 << 16
"""The most bytes of a line without an end that wait for the rest."""
SET_UP = "UPDATE jobs SET status = :state WHERE job_id = :job AND status IN ('INIT', 'PENDING')"
BEGIN = (
    "UPDATE jobs SET status = :state, start_at = :now WHERE job_id = :job "
    "AND status IN ('INIT', 'PENDING', 'SETTING_UP')"
)
END = (
    "UPDATE jobs SET status = :state, end_at = :now WHERE job_id = :job "
    "AND status IN ('INIT', 'PENDING', 'SETTING_UP', 'RUNNING')"
)
"""A state that SkyPilot or a person has recorded as the end stays: sky/skylet/job_lib.py, JobStatus."""
OF_THE_DAEMON = ("SKYPILOT_", "BUILDKITE")
"""Variables of SkyPilot's daemon, which a job under Ray does not get."""
NO_TERMINAL = (b"bash: cannot set terminal process group", b"bash: no job control in this shell")
"""The first lines of an interactive bash without a terminal. SkyPilot removes them too."""


def main(*, job: int, name: str, setup: str, script: str, first_lines: list[str], last_line: str) -> None:
    """Run setup and job, and record the end. `first_lines`, `last_line`: the log's lines around those of the job."""
    os.unlink(sys.argv[0])  # it holds the job's secrets, and every user of the machine can read it
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    cancellation = Cancellation()
    signal.signal(signal.SIGTERM, cancellation.note)
    write("".join(f"{line}\n" for line in first_lines).encode())
    code, state = 0, "FAILED_SETUP"
    if setup and record(job, SET_UP, "SETTING_UP"):
        code = run(setup, "setup", cancellation)
    if not code and record(job, BEGIN, "RUNNING"):  # a job that was cancelled before does not begin
        code, state = run(script, name, cancellation), "FAILED"
    with contextlib.suppress(sqlite3.Error):  # the node's own file decides how the job ended
        record(job, END, state if code else "SUCCEEDED")
    write(f"{last_line}\n".encode())
    sys.exit(1 if code else 0)


class Cancellation:
    """Whether SkyPilot cancelled the job. `at`: when, in monotonic seconds."""

    def __init__(self) -> None:
        self.at: float | None = None

    def note(self, _number: int, _frame: object) -> None:
        if self.at is None:
            self.at = time.monotonic()
            send(signal.SIGTERM, descendants())

    def kill_late(self) -> None:
        if self.at is not None and time.monotonic() - self.at > GRACE_SECONDS:
            send(signal.SIGKILL, descendants())

    def end_rest(self) -> None:
        """End what a cancelled job leaves. A process that had just changed its parent did not get the signal."""
        earlier: set[int] = set()
        while self.at is not None and (rest := descendants()):
            send(signal.SIGTERM, rest - earlier)
            earlier |= rest
            self.kill_late()
            time.sleep(0.1)
            if time.monotonic() - self.at > GRACE_SECONDS + KILL_SECONDS:
                return


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
            preexec_fn=be_killed_first,  # noqa: PLW1509  no thread runs here
        )
        lines = PrefixedLines(f"({name}, pid={process.pid}) ".encode())
        if process.stdout is not None:
            copy(process, process.stdout.fileno(), lines, cancellation)
        lines.close()
        cancellation.end_rest()
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


def record(job: int, statement: str, state: str) -> bool:
    """Write a state of the job into SkyPilot's records. False: the job is over there already."""
    folder = os.path.expanduser(os.environ.get("SKY_RUNTIME_DIR") or "~")
    with contextlib.closing(sqlite3.connect(os.path.join(folder, ".sky", "jobs.db"), timeout=60)) as records:
        count = records.execute(statement, {"state": state, "now": time.time(), "job": job}).rowcount
        records.commit()
        return count == 1


def be_killed_first() -> None:
    """Let the kernel choose the job where memory is short, and no program that the machine needs. Ray does so too."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def descendants() -> set[int]:
    """Return the live processes below this one."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
                children.setdefault(int(parent), []).append((int(entry), state))
    alive, ahead = set(), [os.getpid()]
    while ahead:
        for pid, state in children.get(ahead.pop(), ()):
            ahead.append(pid)
            if state not in "ZX":
                alive.add(pid)
    return alive


def send(number: int, pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
