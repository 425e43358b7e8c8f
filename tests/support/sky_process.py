"""Programs that import SkyPilot, each in a process of its own, in seconds less: they are forked from one process.

That process has loaded the libraries that SkyPilot imports, and neither SkyPilot nor a cloud's library. So each program
imports those itself, in its own environment and HOME, as the process of a run does. Programs whose facts are others
have it `loaded`, and one HOME, `empty_home`: one process imports SkyPilot there, and forks them.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.support import shared

SKYPILOT = (
    *("sky", "sky.check", "sky.skylet.skylet", "cvl_ci.engine.worker.job_driver", "cvl_ci.engine.worker.one_node_log"),
    *("cvl_ci.engine.worker.provision_hooks", "cvl_ci.engine.worker.sky_local", "cvl_ci.engine.worker.skylet_channel"),
)
"""What is loaded for those that want it: SkyPilot, its daemon, and our modules on them."""
FRESH = ("sky", "__main__", "boto3", "botocore", "google", "kubernetes", "azure", "oci", "runpod", "nebius")
"""Packages that each program imports itself: they may read the environment while they are imported."""


def run(
    code: str,
    *arguments: str,
    env: Mapping[str, str],
    text: str = "",
    folder: Path | None = None,
    within: float = 100.0,
    loaded: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program of Python, and return its end as `subprocess.run` does. `text`: its input."""
    assert not loaded or env["HOME"] == str(_home()), "SkyPilot reads HOME while it is imported"
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    words = {"code": code, "arguments": arguments, "env": dict(env), "within": within}
    request = {**words, "text": text, "folder": str(folder or Path.cwd()), "loaded": loaded}
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    answer = json.loads(server.stdout.readline())
    return subprocess.CompletedProcess(["python", "-c", code], answer["code"], answer["out"], answer["err"])


def empty_home() -> Path:
    """Return the HOME of the programs that have SkyPilot loaded. What an earlier one left running there ends."""
    home = _home()
    for process in _remaining(home):
        os.kill(process, signal.SIGKILL)
    while _remaining(home):
        time.sleep(0.01)
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return home


@functools.cache
def _home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="cvl-sky-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _remaining(home: Path) -> list[int]:
    """Return the processes that were started with this HOME. Those that serve were not."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                processes.append(int(process.name))
        except OSError:
            continue
    return processes


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
    loaded: tuple[IO[str], IO[str]] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["loaded"]:
            loaded = loaded or _with_skypilot(request["env"]["HOME"])
            loaded[0].write(line)
            loaded[0].flush()
            answers.write(loaded[1].readline())
        else:
            answers.write(json.dumps(_forked(request)) + "\n")
        answers.flush()


def _with_skypilot(home: str) -> tuple[IO[str], IO[str]]:
    """Fork a process that imports SkyPilot and answers requests. Return where it reads, and where it writes."""
    (reader, asked), (told, writer) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(asked)
        os.close(told)
        os.environ.clear()
        os.environ.update({"HOME": home, "PATH": os.defpath, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"})
        gc.disable()
        for name in SKYPILOT:
            importlib.import_module(name)
        gc.freeze()
        with os.fdopen(reader) as requests, os.fdopen(writer, "w") as answers:
            for line in requests:
                answers.write(json.dumps(_forked(json.loads(line))) + "\n")
                answers.flush()
        os._exit(0)
    os.close(reader)
    os.close(writer)
    return os.fdopen(asked, "w"), os.fdopen(told)


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
