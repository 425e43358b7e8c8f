"""Install and run the npm peers: azurite as a process of ours, scripts beside this file by their name."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALL = HERE.parent.parent / "script" / "peers"


def missing() -> str | None:
    """Why the peers cannot run here, in words; None: they can."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed: script/bootstrap installs them"
    done = subprocess.run([INSTALL], capture_output=True, text=True, check=False, timeout=600)
    return None if done.returncode == 0 else f"{INSTALL.name} failed: {done.stderr.strip()[-300:]}"


@contextmanager
def azurite(folder: Path, *, certificate: tuple[Path, Path] | None = None) -> Iterator[int]:
    """The port of an Azure blob emulator on this machine alone. With a certificate: HTTPS and tokens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    program = HERE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobHost", "127.0.0.1"]
    place = ["--blobPort", str(port), "--location", str(folder)]
    if certificate:
        place += ["--cert", str(certificate[0]), "--key", str(certificate[1]), "--oauth", "basic"]
    with subprocess.Popen(["node", program, *options, *place], stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=20)


def run(script: str, *arguments: str | Path, environ: Mapping[str, str]) -> dict[str, object]:
    """Return the last line that a script prints, which is JSON. All scripts share one process, one after the other."""
    server, errors = _server()
    assert server.stdin is not None and server.stdout is not None
    request = {"script": script, "words": [str(word) for word in arguments], "environ": _environment(environ)}
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    line = server.stdout.readline()
    assert line, f"{script} ended the process: {Path(errors).read_text()[-3000:]}"
    answer: dict[str, str] = json.loads(line)
    assert "error" not in answer, answer["printed"] + answer["error"]
    return _last_line(answer["printed"])


def run_alone(script: str, *arguments: str | Path, environ: Mapping[str, str]) -> dict[str, object]:
    """Do the same in a process of its own: node reads some variables only when it starts, and memory is measured."""
    done = subprocess.run(
        ["node", HERE / script, *arguments],
        env=_environment(environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return _last_line(done.stdout)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "GITHUB_WORKSPACE": "/nonexistent", **environ}


def _last_line(text: str) -> dict[str, object]:
    said: dict[str, object] = json.loads(text.rstrip("\n").rpartition("\n")[2])
    return said


@functools.cache
def _server() -> tuple[subprocess.Popen[str], str]:
    """Return the process of the scripts and the file of its errors. It serves until the tests of this process end."""
    descriptor, errors = tempfile.mkstemp(prefix="cvl-node-")
    server = subprocess.Popen(
        ["node", HERE / "serve.mjs"],
        env=_environment({}),
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=descriptor,
        text=True,
    )
    os.close(descriptor)
    atexit.register(_end, server, errors)
    return server, errors


def _end(server: subprocess.Popen[str], errors: str) -> None:
    with server:
        server.kill()
    Path(errors).unlink()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1100):
        assert process.poll() is None, "azurite ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("azurite did not answer")
