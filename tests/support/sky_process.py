"""Programs that import SkyPilot, each in a process of its own, in seconds less: they are forked from one process.

That process has loaded the libraries that SkyPilot imports, and neither SkyPilot nor a cloud's library. So each program
imports those itself, in its own environment and HOME, as the process of a run does.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.support import shared

FRESH = ("sky", "__main__", "boto3", "botocore", "google", "kubernetes", "azure", "oci", "runpod", "nebius")
"""Packages that each program imports itself: they may read the environment while they are imported."""


def run(
    code: str,
    *arguments: str,
    env: Mapping[str, str],
    text: str = "",
    folder: Path | None = None,
    within: float = 100.0,
) -> subprocess.CompletedProcess[str]:
    """Run a program of Python, and return its end as `subprocess.run` does. `text`: its input."""
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    words = {"code": code, "arguments": arguments, "env": dict(env), "within": within}
    request = {**words, "text": text, "folder": str(folder or Path.cwd())}
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    answer = json.loads(server.stdout.readline())
    return subprocess.CompletedProcess(["python", "-c", code], answer["code"], answer["out"], answer["err"])


@functools.cache
def _server() -> subprocess.Popen[str]:
    words = [sys.executable, "-m", __name__]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    with server:
        server.kill()


def serve() -> None:
    """Answer each line of stdin with one line, until stdin ends."""
    gc.disable()  # it stays: to look at it again and again takes a quarter of an import
    for name in _libraries():
        try:
            importlib.import_module(name)
        except ImportError:  # a module that only another one can make
            continue
    gc.freeze()  # no program looks at what it has from here, nor makes its own copy of it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(_forked(json.loads(line))) + "\n")
        answers.flush()


def _libraries() -> list[str]:
    """Return the modules that SkyPilot imports."""
    names: list[str] = json.loads(shared.once("sky-modules", _modules))
    return [name for name in names if name.split(".")[0] not in FRESH]


def _modules() -> str:
    """Another process imports SkyPilot to learn them."""
    words = [sys.executable, "-c", "import json, sys, sky, sky.check; print(json.dumps(list(sys.modules)))"]
    result = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    return result.stdout.splitlines()[-1]


def _forked(request: Mapping[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        text.write(request["text"].encode())
        text.seek(0)
        child = os.fork()
        if child == 0:
            _become(request, text, out, err)
        _, status = os.waitpid(child, 0)
        texts = {}
        for name, file in (("out", out), ("err", err)):
            file.seek(0)
            texts[name] = file.read().decode(errors="replace")
        return {"code": os.waitstatus_to_exitcode(status), **texts}


def _become(request: Mapping[str, Any], text: IO[bytes], out: IO[bytes], err: IO[bytes]) -> None:
    """Become the program: its environment, its input and output, and its end."""
    import signal
    import traceback

    signal.alarm(int(request["within"]))
    os.dup2(text.fileno(), 0)
    sys.stdin = os.fdopen(0)
    sys.argv = ["-c", *request["arguments"]]
    os.chdir(request["folder"])
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.environ.clear()
    os.environ.update(request["env"])
    code = 0
    gc.enable()
    try:
        exec(compile(request["code"], "<program>", "exec"), {"__name__": "__main__"})
    except BaseException:  # noqa: BLE001  the program's end, as Python prints it
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
