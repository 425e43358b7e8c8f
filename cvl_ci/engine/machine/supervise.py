"""Supervise one command on the machine: run it until it ends, store its log, and end its leftover processes.

A program of its own for the machine's Python: `supervise.py STATE STREAM SECONDS COMMAND...`. It adopts every process
that descends from the command (PR_SET_CHILD_SUBREAPER), so a new session or a double fork does not hide one. The
command writes into a pipe of this program. So a process that survives everything cannot delay the end of the job.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import zlib

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
WAITED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
GRACE_SECONDS = 5.0
"""Background processes of the command have this long to end by themselves, and the same time again after SIGTERM."""
LIMIT_GRACE_SECONDS = 30.0
"""At the time limit every process of the command has this long to write a checkpoint after SIGTERM."""
SEGMENT_BYTES = 32 << 20
"""The log has two files: at least its last 32 MiB, at most 64."""
MOST_NAMES = 20
TIMED_OUT = 124

LIBC = ctypes.CDLL(None, use_errno=True)


class Log:
    """The last part of one stream in two files, and a sum over all of it: characters and CRC-32, without line ends.

    Readers of the stream elsewhere cut and end lines in other places. The characters between the ends stay the same.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        os.makedirs(folder, exist_ok=True)
        self.count, self.crc, self.dropped, self._old, self._new = self._read_sum()
        self._file = open(os.path.join(folder, "new"), "ab", buffering=0)
        self._bytes = self._file.tell()

    def write(self, data: bytes) -> None:
        self._add(self._decoder.decode(data))
        with contextlib.suppress(OSError):  # a full disk is the job's problem, and not a reason to end it
            self._file.write(data)
        self._new += data.count(b"\n")
        self._bytes += len(data)
        if self._bytes >= SEGMENT_BYTES:
            self._next_segment()

    def close(self) -> None:
        self._add(self._decoder.decode(b"", final=True))
        self._file.close()
        values = (self.count, self.crc, self.dropped, self._old, self._new)
        with contextlib.suppress(OSError):
            partial = os.path.join(self._folder, "sum.tmp")
            with open(partial, "w", encoding="ascii") as file:
                file.write(" ".join(map(str, values)) + "\n")
            os.replace(partial, os.path.join(self._folder, "sum"))

    def _add(self, text: str) -> None:
        characters = text.replace("\r", "").replace("\n", "")
        self.count += len(characters)
        self.crc = zlib.crc32(characters.encode("utf-8", "replace"), self.crc)

    def _next_segment(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
            os.replace(os.path.join(self._folder, "new"), os.path.join(self._folder, "old"))
            self.dropped, self._old, self._new = self.dropped + self._old, self._new, 0
            self._bytes = 0
        self._file = open(os.path.join(self._folder, "new"), "ab", buffering=0)

    def _read_sum(self) -> tuple[int, int, int, int, int]:
        try:
            with open(os.path.join(self._folder, "sum"), encoding="ascii") as file:
                count, crc, dropped, old, new = map(int, file.read().split())
        except (OSError, ValueError):
            return 0, 0, 0, 0, 0
        return count, crc, dropped, old, new


class Relay(threading.Thread):
    """Thread that passes the command's output to stdout and into the log, until no more can come."""

    def __init__(self, source: int, log: Log) -> None:
        super().__init__(daemon=True)
        self._source, self._log = source, log
        self._is_heard = True
        self.over = threading.Event()
        """Set when every process that can be ended is gone: only the rest in the pipe remains."""

    def run(self) -> None:
        rest = 1 << 20  # a pipe holds less
        while rest > 0:
            is_over = self.over.is_set()
            if not select.select([self._source], [], [], 0.2)[0]:
                if is_over:
                    return
                continue
            data = os.read(self._source, 65536)
            if not data:
                return
            rest -= len(data) if is_over else 0
            self._log.write(data)
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        while data and self._is_heard:
            try:
                data = data[os.write(1, data) :]
            except OSError:
                self._is_heard = False  # the reader is gone; the log goes on


class Command:
    """The command and every process that descends from it."""

    def __init__(self, words: list[str]) -> None:
        self.code: int | None = None
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_begin_as_the_job,  # noqa: PLW1509  no thread runs yet
        )
        if process.stdout is None:
            raise RuntimeError("a process was started without its pipe")
        self.pipe, self._pid = process.stdout.fileno(), process.pid
        self._process = process

    def wait(self, seconds: float, *, until_all_ended: bool = False, unless: str = "") -> bool:
        """Wait. Return True if it ended, or (`until_all_ended`) if none of its processes exists.

        False: time, a signal or the file `unless` came first.
        """
        end = time.monotonic() + seconds
        while True:
            self._reap()
            if self.code is not None and not (until_all_ended and descendants()):
                return True
            seconds_left = end - time.monotonic()
            if seconds_left <= 0 or (unless and os.path.exists(unless)):
                return False
            received = signal.sigtimedwait(WAITED, min(seconds_left, 0.25 if until_all_ended else 5.0))
            if received is not None and received.si_signo != signal.SIGCHLD and _is_from_outside(received.si_pid):
                return False

    def send(self, number: int) -> None:
        """Send a signal to every process of the command, as root if the process made itself root."""
        refused = []
        for pid in descendants():
            try:
                os.kill(pid, number)
            except PermissionError:
                refused.append(str(pid))
            except ProcessLookupError:
                pass
        if refused:
            words = ["sudo", "-n", "kill", f"-{int(number)}", *refused]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(words, capture_output=True, check=False, timeout=10)

    def kill(self) -> None:
        """Kill repeatedly, as long as a process creates new ones."""
        end = time.monotonic() + GRACE_SECONDS
        while descendants() and time.monotonic() < end:
            self.send(signal.SIGKILL)
            self.wait(0.1, until_all_ended=True)
        self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._pid:
                    self.code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                    self._process.returncode = self.code


def descendants() -> dict[int, str]:
    """Return the names of all processes below this one, by their numbers; those that have ended do not count."""
    children, names = _processes()
    by_pid, ahead = {}, [os.getpid()]
    while ahead:
        for pid in children.get(ahead.pop(), ()):
            ahead.append(pid)
            if pid in names:
                by_pid[pid] = names[pid]
    return by_pid


def _processes() -> tuple[dict[int, list[int]], dict[int, str]]:
    """Return the children of each process, and the name of each that has not ended."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        state, parent = rest.split()[:2]
        children.setdefault(int(parent), []).append(int(entry))
        if state not in "ZX":
            names[int(entry)] = name
    return children, names


def containers() -> tuple[list[str], set[str]]:
    """Return the command for this machine's Docker, and its running containers; nothing without an engine.

    An engine that starts with its first client is not started for this.
    """
    if "dockerd" not in _processes()[1].values():
        return [], set()
    for words in (["docker"], ["sudo", "-n", "docker"]):
        try:
            result = subprocess.run(
                [*words, "ps", "--quiet", "--no-trunc"], capture_output=True, text=True, check=False, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if result.returncode == 0:
            return words, set(result.stdout.split())
    return [], set()


def run(state: str, stream: str, seconds: float, words: list[str]) -> int:
    end = time.monotonic() + seconds
    _, before = containers()
    start = time.monotonic_ns()
    command = Command(words)
    log = Log(os.path.join(state, "log", stream))
    relay = Relay(command.pipe, log)
    relay.start()
    idle = os.path.join(state, "gpu.idle")
    has_ended = command.wait(end - time.monotonic(), unless=idle)
    _write(os.path.join(state, "took"), f"{time.monotonic_ns() - start}\n")
    code = command.code
    if has_ended:
        _end_the_rest(command, state)
    else:
        is_limit = time.monotonic() >= end
        is_idle = not is_limit and os.path.exists(idle)
        command.send(signal.SIGTERM)
        command.wait(LIMIT_GRACE_SECONDS, until_all_ended=True)  # a shell ends at once, and the program in it later
        code = TIMED_OUT if is_limit or is_idle else 128 + signal.SIGTERM
        if is_limit or is_idle:
            _write(os.path.join(state, "limit" if is_limit else "idle"), "")
    command.kill()
    if not has_ended:
        _kill_containers(before)
    relay.over.set()
    relay.join(60)
    log.close()
    return TIMED_OUT if code is None else code


def _end_the_rest(command: Command, state: str) -> None:
    if command.wait(GRACE_SECONDS, until_all_ended=True):
        return
    names = [re.sub(r"[^A-Za-z0-9._+:/-]", "?", name)[:30] or "?" for name in descendants().values()]
    _write(os.path.join(state, "left"), "".join(f"left={name}\n" for name in names[:MOST_NAMES]))
    command.send(signal.SIGTERM)
    command.wait(GRACE_SECONDS, until_all_ended=True)


def _kill_containers(before: set[str]) -> None:
    """Kill the job's containers.

    Docker's client only sends messages: its container goes on when the client is killed.
    """
    words, now = containers()
    if now - before:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([*words, "kill", *sorted(now - before)], capture_output=True, check=False, timeout=30)


def _write(path: str, text: str) -> None:
    with contextlib.suppress(OSError), open(path, "a", encoding="ascii") as file:
        file.write(text)


def _begin_as_the_job() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _is_from_outside(pid: int) -> bool:
    """Return whether the signal came from outside.

    A job may run `pkill -f python` for its own processes. The sender is then below this process, or has ended.
    """
    while pid > 1:
        if pid == os.getpid():
            return False
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return True


def main() -> None:
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    LIBC.prctl(PR_SET_NAME, b"cvl-ci", 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
    code = run(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:])
    os._exit(code)  # a thread that waits for a reader does not delay the end


if __name__ == "__main__":
    main()
