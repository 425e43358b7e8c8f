"""Run a job on the only node of its cluster, where SkyPilot starts a program of Ray.

A program of its own for SkyPilot's Python on the machine, which loads the standard library alone. SkyPilot's daemon
starts and ends it. Its log and its records are in SkyPilot's form. job_driver.py writes the call of `main` at its end.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator

PR_SET_NAME = 15
SUPERVISOR = "cvl-ci"
"""The name of supervise.py, which ends the processes of a job itself."""
OPEN_FILES = 1 << 20
"""SkyPilot raises Ray's limit to this: sky/provision/instance_setup.py, RAY_PRLIMIT."""
GRACE_SECONDS = 40.0
"""A cancelled job has this long to end. The supervisor gives its processes 30 s, and kills them after that."""
PREPARATION_SECONDS = 2.0
"""A cancelled job without a supervisor this long prepares itself: its shell ends."""
KILL_SECONDS = 5.0
"""A program that does not end, such as root's, does not hold up the end of the job longer."""
DOUBT_SECONDS, LOCK_SECONDS = 10.0, 10.0
REST_SECONDS = 0.2
"""A process that outlives its job may hold the job's pipe. An empty pipe counts as closed so long after the job."""
LONGEST_PARTIAL = 1 << 16
"""The most letters of a line without an end that wait for the rest."""
BAR_SECONDS = 1.0
"""A progress bar, whose parts end in a carriage return, is shown this often."""
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
NO_TERMINAL = ("bash: cannot set terminal process group", "bash: no job control in this shell")
"""The first lines of an interactive bash without a terminal. SkyPilot removes them too."""


def main(*, job: int, name: str, setup: str, script: str, first_lines: list[str], last_line: str) -> None:
    """Run setup and job, and record the end. `first_lines`, `last_line`: the log's lines around those of the job."""
    os.unlink(sys.argv[0])  # it holds the job's secrets
    # A job that ends its own Python processes by name does not mean this one.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NAME, SUPERVISOR.encode(), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    write("".join(f"{line}\n" for line in first_lines))
    cancellation = Cancellation(job)
    code, state = 1, "FAILED_DRIVER"
    try:
        allow_open_files()
        failed = run(setup, "setup", cancellation) if setup and record(job, SET_UP, "SETTING_UP") else 0
        if failed:
            code, state = failed, "FAILED_SETUP"
        elif not cancellation.has_come() and record(job, BEGIN, "RUNNING"):  # else it never began
            code, state = run(script, name, cancellation), "FAILED"
    except Exception:  # noqa: BLE001  no fault of this program leaves a job without an end
        code, state = 1, "FAILED_DRIVER"
        write(traceback.format_exc())
        send(signal.SIGKILL, set(descendants()))
    with contextlib.suppress(sqlite3.Error):  # the node's own file decides how the job ended
        record(job, END, state if code else "SUCCEEDED")
    write(f"{last_line}\n")
    sys.exit(1 if code else 0)


class Cancellation:
    """Whether SkyPilot cancelled the job. It sends SIGTERM to this process and to none of the job. `of`: its roots."""

    def __init__(self, job: int, *, of: Collection[int] = ()) -> None:
        self._job, self._roots = job, set(of)
        self._at: float | None = None
        self._doubt_until = self._supervised_at = 0.0

    def has_come(self) -> bool:
        """Return whether SIGTERM came from SkyPilot. A job may run `pkill -f python` for its own processes."""
        while self._at is None and (received := signal.sigtimedwait({signal.SIGTERM}, 0)) is not None:
            if received.si_pid in descendants():
                continue
            if os.path.exists(f"/proc/{received.si_pid}"):
                self.begin()
            else:  # SkyPilot's program records the cancellation after the signal, and ends
                self._doubt_until = time.monotonic() + DOUBT_SECONDS
        if self._at is None and time.monotonic() < self._doubt_until and is_cancelled(self._job):
            self.begin()
        return self._at is not None

    def begin(self) -> None:
        self._at = time.monotonic()
        send(signal.SIGTERM, set(self._rest()))

    def press(self, shell: int) -> None:
        """End a cancelled job by and by. An interactive bash ignores SIGTERM, and goes on after its program's end."""
        if not self.has_come() or self._at is None:
            return
        now, rest = time.monotonic(), self._rest()
        if now - self._at > GRACE_SECONDS:
            send(signal.SIGKILL, set(rest))
        elif SUPERVISOR in rest.values():
            self._supervised_at = now
        elif now - max(self._at, self._supervised_at) > PREPARATION_SECONDS:
            send(signal.SIGHUP, {shell})
            send(signal.SIGTERM, set(rest))

    def end_rest(self, shell: int) -> None:
        """Wait for the processes of a cancelled job."""
        while self._at is not None and self._rest():
            self.press(shell)
            if time.monotonic() - self._at > GRACE_SECONDS + KILL_SECONDS:
                return
            time.sleep(0.1)

    def _rest(self) -> dict[int, str]:
        """Return the live processes. One whose parent has ended stays among them."""
        rest = descendants(*self._roots)
        self._roots |= rest.keys() if self._roots else set()
        return rest


def run(script: str, name: str, cancellation: Cancellation) -> int:
    """Run the shell text to its end, and copy its output with SkyPilot's prefix. Return its exit code."""
    with tempfile.NamedTemporaryFile("w", prefix="sky_app_", encoding="utf-8", delete=False) as file:
        file.write(script)
    try:
        process = subprocess.Popen(
            ["/bin/bash", "-i", file.name],
            env={name: value for name, value in os.environ.items() if not name.startswith(OF_THE_DAEMON)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_begin_as_under_ray,  # noqa: PLW1509  no thread runs here
        )
        lines = PrefixedLines(f"({name}, pid={process.pid}) ")
        with guarded(process.pid):
            if process.stdout is not None:
                copy(process, process.stdout.fileno(), lines, cancellation)
            lines.close()
            cancellation.end_rest(process.pid)
            return process.wait()
    finally:
        with contextlib.suppress(OSError):  # the job may have removed it
            os.unlink(file.name)


@contextlib.contextmanager
def guarded(shell: int) -> Iterator[None]:
    """End the job if this program is killed, as SkyPilot's own subprocess_daemon.py does for a job under Ray.

    SkyPilot then records FAILED_DRIVER, and a job that went on would write next to the next job of its machine.
    """
    end_of_guard, own_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:  # not below this process, which waits for all processes below it
                guard(end_of_guard, shell)
        finally:
            os._exit(0)
    os.close(end_of_guard)
    os.waitpid(child, 0)
    yield
    with contextlib.suppress(OSError):  # a person may have killed the guard
        os.write(own_end, b"over")
    os.close(own_end)


def guard(pipe: int, shell: int) -> None:
    """Wait until the driver ends. End its job unless the driver wrote that the job is over."""
    os.setsid()
    for number in map(int, os.listdir("/proc/self/fd")):
        if number != pipe:  # with an end of its output, the job would wait for a reader
            with contextlib.suppress(OSError):
                os.close(number)
    if not os.read(pipe, 1):
        cancellation = Cancellation(0, of={shell})
        cancellation.begin()
        cancellation.end_rest(shell)


def copy(process: subprocess.Popen[bytes], source: int, lines: PrefixedLines, cancellation: Cancellation) -> None:
    rest = 1 << 20  # a pipe holds less
    while rest > 0:
        is_over = process.poll() is not None
        cancellation.press(process.pid)
        if not select.select([source], [], [], REST_SECONDS)[0]:
            if is_over:
                return
            lines.show_bar()
            continue
        data = os.read(source, 1 << 16)
        if not data:
            return
        rest -= len(data) if is_over else 0
        lines.add(data)
        lines.show_bar()


class PrefixedLines:
    """The job's output as lines with a prefix. SkyPilot reads them as UTF-8, and a job may print any bytes."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._partial, self._is_begun, self._is_first = prefix, "", False, True
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._shown_at = time.monotonic()

    def add(self, data: bytes) -> None:
        self._add(self._decoder.decode(data))

    def show_bar(self) -> None:
        """Write what a progress bar has shown so far as a line of its own."""
        bar, end, rest = self._partial.rpartition("\r")
        if end and time.monotonic() - self._shown_at > BAR_SECONDS:
            self._shown_at = time.monotonic()
            self._partial = rest
            write(self._line(bar))

    def close(self) -> None:
        self._add(self._decoder.decode(b"", final=True))
        if self._partial or self._is_begun:
            write(self._line(self._partial))

    def _add(self, text: str) -> None:
        *complete, self._partial = (self._partial + text).split("\n")
        text = "".join(map(self._line, complete))
        if len(self._partial) > LONGEST_PARTIAL:
            text += self._begin() + self._partial
            self._partial, self._is_begun = "", True
        write(text)

    def _line(self, line: str) -> str:
        if self._is_first and line.startswith(NO_TERMINAL):
            return ""
        begin, self._is_begun, self._is_first = self._begin(), False, False
        return begin + line.removesuffix("\r") + "\n"

    def _begin(self) -> str:
        return "" if self._is_begun else self._prefix


def write(text: str) -> None:
    data = text.encode("utf-8", "replace")
    with contextlib.suppress(OSError):  # a full disk is the job's problem, and not a reason to end it
        while data:
            data = data[os.write(1, data) :]


def record(job: int, statement: str, state: str) -> bool:
    """Write a state of the job into SkyPilot's records. False: the job is over there already."""
    with _locked(os.path.expanduser(f"~/.sky/locks/.job_{job}.lock")), contextlib.closing(_records()) as records:
        count = records.execute(statement, {"state": state, "now": time.time(), "job": job}).rowcount
        records.commit()
        return count == 1


def is_cancelled(job: int) -> bool:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_records()) as records:
        row = records.execute("SELECT status FROM jobs WHERE job_id = ?", (job,)).fetchone()
        return bool(row == ("CANCELLED",))
    return False


def _records() -> sqlite3.Connection:
    folder = os.path.expanduser(os.environ.get("SKY_RUNTIME_DIR") or "~")
    return sqlite3.connect(os.path.join(folder, ".sky", "jobs.db"), timeout=60)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold SkyPilot's lock of the job. Without it, SkyPilot may take the end of this process for a failure of it."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = stack.enter_context(open(path, "a", encoding="ascii"))
            until = time.monotonic() + LOCK_SECONDS
            while time.monotonic() < until:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.05)
        yield


def allow_open_files() -> None:
    """Raise the limit of open files for the job, as root where that is possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= OPEN_FILES:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    words = ["sudo", "-n", "prlimit", f"--nofile={OPEN_FILES}:{OPEN_FILES}", "--pid", str(os.getpid())]
    if hard < OPEN_FILES:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10)


def _begin_as_under_ray() -> None:
    """Take back what the daemon's child inherits, and let the kernel choose the job first where memory is short."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def descendants(*roots: int) -> dict[int, str]:
    """Return the names of the live processes below this one; with `roots`, of these and those below them."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
                state, parent = rest.split()[:2]
                children.setdefault(int(parent), []).append(int(entry))
                if state not in "ZX":
                    names[int(entry)] = name
    below = {pid: names[pid] for pid in roots if pid in names}
    ahead = list(roots) or [os.getpid()]
    while ahead:
        for pid in children.get(ahead.pop(), ()):
            ahead.append(pid)
            if pid in names:
                below[pid] = names[pid]
    return below


def send(number: int, pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
