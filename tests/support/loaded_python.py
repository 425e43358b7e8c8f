"""A Python for machines of the tests that has boto3 loaded: `python -c` is forked from one process, and saves the load.

Each program has its own environment, folder, files and end. The hub's client is not loaded: it reads the environment
while it is imported. All other calls, as of a file, are the real Python's.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

LONGEST = 1 << 20
"""Bytes of a request, its environment included."""
FRESH = ("huggingface_hub", "hf_xet", "__main__")
"""Packages that each program imports itself."""
_CLIENT = """#!{python} -IS
import sys
words = sys.argv[1:]
isolated = words[:1] == ["-I"]
if words[isolated : isolated + 1] != ["-c"]:
    import os
    os.execv("{python}", ["{python}", *words])
import marshal, os, signal, socket
place = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
place.connect("{place}")
request = marshal.dumps((isolated, words[isolated + 1], words[isolated + 2 :], dict(os.environ), os.getcwd()))
socket.send_fds(place, [request], [0, 1, 2])
child = int(place.recv(99))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(child, number))
code = int(place.recv(99))
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if code != -9 else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""
"""What stands for Python: it hands its files on, passes signals on, and ends as the program does."""


@functools.cache
def program() -> Path:
    """Return the path of this Python. It serves until the tests of this process end."""
    from tests.support import shared  # the server of this file has neither the package nor its folder

    folder = Path(tempfile.mkdtemp(prefix="cvl-loaded-"))
    python, place = folder / "python3", folder / "place"
    python.write_text(_CLIENT.format(python=sys.executable, place=place))
    python.chmod(0o755)
    (folder / "modules").write_text(shared.once("loaded-modules", _modules))
    words = [sys.executable, "-I", __file__, str(place)]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None and server.stdout is not None
    server.stdout.readline()
    server.stdout.close()
    atexit.register(_stop, server, folder)
    return python


def _stop(server: subprocess.Popen[bytes], folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:  # a program that a test left
        server.kill()
        server.wait()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def serve(place: str) -> None:
    """Fork a program for each caller, until stdin ends."""
    gc.disable()  # what is loaded stays
    for name in Path(place).with_name("modules").read_text().split():
        try:
            importlib.import_module(name)
        except ImportError:  # a module that only another one can make
            continue
    _make_a_client()
    gc.freeze()  # so no program looks at it again, and all share its memory
    gc.enable()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(place)
        listening.listen(64)
        os.write(1, b"ready\n")
        os.close(1)
        watching: list[int] = []
        callers: list[Any] = [0, listening]
        while 0 not in select.select(callers, [], [])[0]:
            caller, _ = listening.accept()
            watching.append(os.fork())
            if watching[-1] == 0:
                listening.close()
                os.close(0)
                _watch(caller)
            caller.close()
            watching = [one for one in watching if os.waitpid(one, os.WNOHANG)[0] == 0]
    for one in watching:
        os.waitpid(one, 0)


def _modules() -> str:
    """Return the names of the modules that these programs load. Another process loads them to learn the names."""
    code = "import sys, boto3, boto3.s3.transfer\nfrom huggingface_hub import snapshot_download\nprint(*sys.modules)"
    words = [sys.executable, "-I", "-c", code]
    loaded = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    return " ".join(name for name in loaded if name.split(".")[0] not in FRESH)


def _make_a_client() -> None:
    """Read the descriptions of S3 once: all sessions have one loader."""
    import boto3
    import botocore.session as sessions

    module: Any = sessions
    module.create_loader = functools.cache(module.create_loader)
    boto3.Session(aws_access_key_id="t", aws_secret_access_key="t").client("s3", region_name="us-east-1")


def _watch(caller: socket.socket) -> None:
    """Fork the program, tell its number and its end, and end it with its caller. It does not return."""
    content, files, _, _ = socket.recv_fds(caller, LONGEST, 3)
    child = os.fork()
    if child == 0:
        caller.close()
        _become(files, *marshal.loads(content))
    for file in files:
        os.close(file)
    caller.send(str(child).encode())
    over = os.pidfd_open(child)
    ends: list[Any] = [caller, over]
    if over not in select.select(ends, [], [])[0]:  # the caller was killed
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        caller.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(  # noqa: PLR0917  a program's facts
    files: list[int], isolated: bool, code: str, words: list[str], environ: dict[str, str], folder: str
) -> None:
    """Become the program. It does not return."""
    import threading
    import traceback

    for place, file in enumerate(files):
        os.dup2(file, place)
    os.closerange(3, max(files) + 1)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    if not isolated:
        sys.path.insert(0, "")
    sys.argv = ["-c", *words]
    sys.modules["__main__"] = main = ModuleType("__main__")
    end: object = None
    try:
        exec(compile(code, "<string>", "exec"), main.__dict__)
    except SystemExit as error:
        end = error.code
    except BaseException:  # noqa: BLE001  the program's end, as Python prints it
        traceback.print_exc()
        end = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end if isinstance(end, int) else 0 if end is None else 1)


if __name__ == "__main__":
    serve(sys.argv[1])
