"""Programs that load the same modules, each in a process of its own, forked from a process that has loaded them.

It saves each start the load. Everything else is as for a program that starts by itself: its own environment, folder,
files and signals. The process that forks has one thread, and calls nothing of the modules.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LONGEST = 1 << 20
"""Bytes of a request, its environment included."""


class ForkedProcess:
    """A program that runs, with the part of subprocess.Popen that the tests use."""

    def __init__(self, output: int, end: int) -> None:
        self._output, self._end = output, os.fdopen(end)
        self.pid = int(self._end.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._end], [], [], 0)[0]:
            self.returncode = int(self._end.readline())
            self._end.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 60.0) -> tuple[str, None]:
        """Return all output once the program has ended. Raise TimeoutExpired, as Popen does."""
        until, pieces = time.monotonic() + timeout, []
        while True:
            if not select.select([self._output], [], [], max(0.0, until - time.monotonic()))[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            piece = os.read(self._output, 1 << 16)
            if not piece:
                break
            pieces.append(piece)
        os.close(self._output)
        while self.poll() is None:
            time.sleep(0.002)
        return b"".join(pieces).decode(), None


def start(module: str, *arguments: str, env: Mapping[str, str], folder: Path) -> ForkedProcess:
    """Start the `main` of a module, as `python -m` does."""
    output, writer = os.pipe()
    process = ForkedProcess(output, _request(module, arguments, env, folder, writer, writer))
    os.close(writer)
    return process


def run(
    module: str, *arguments: str, env: Mapping[str, str], folder: Path, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run the `main` of a module, and return its end as `subprocess.run` does."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile("w+") as errors:
        process = ForkedProcess(reader, _request(module, arguments, env, folder, writer, errors.fileno()))
        os.close(writer)
        try:
            output, _ = process.communicate(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        errors.seek(0)
        assert process.returncode is not None
        return subprocess.CompletedProcess([module, *arguments], process.returncode, output, errors.read())


def _request(  # noqa: PLR0917  a program's six facts
    module: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path, output: int, errors: int
) -> int:
    """Ask for a program, and return the pipe that tells its number and its end."""
    end, end_writer = os.pipe()
    request = json.dumps({"arguments": arguments, "env": dict(env), "folder": str(folder)})
    socket.send_fds(_server(module), [request.encode()], [output, errors, end_writer])
    os.close(end_writer)
    return end


@functools.cache
def _server(module: str) -> socket.socket:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-m", __name__, module, str(far.fileno())]
    server = subprocess.Popen(words, pass_fds=[far.fileno()])
    far.close()

    def stop() -> None:
        near.close()
        server.wait()

    atexit.register(stop)
    return near


def serve(module: str, requests: socket.socket) -> None:
    """Fork a program for each request, until the other side is gone."""
    gc.disable()  # what is loaded stays
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "PRELOADED", ()):
        importlib.import_module(name)
    gc.freeze()  # so no program looks at it again, and all share its memory
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        content, files, _, _ = socket.recv_fds(requests, LONGEST, 3)
        if not content:
            return
        if os.fork() == 0:
            requests.close()
            _watch(module, json.loads(content), *files)
        for file in files:
            os.close(file)


def _watch(module: str, request: Mapping[str, object], output: int, errors: int, end: int) -> None:
    """Fork the program, and tell its number and its end. It does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(end)
        _become(module, request, output, errors)
    os.close(output)
    os.close(errors)
    with contextlib.suppress(BrokenPipeError):  # the test has ended
        os.write(end, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(end, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(module: str, request: Mapping[str, object], output: int, errors: int) -> None:
    """Become the program. It does not return."""
    environ, arguments = request["env"], request["arguments"]
    assert isinstance(environ, dict) and isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(str(request["folder"]))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.close(output)
    os.close(errors)
    sys.argv = [module, *arguments]
    code: object = 1
    try:
        code = sys.modules[module].main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  the program's end, as Python prints it
        sys.excepthook(*sys.exc_info())
    _flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _flush() -> None:
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def main(words: Sequence[str]) -> None:
    serve(words[0], socket.socket(fileno=int(words[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
