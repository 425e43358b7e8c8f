"""Installs and runs the npm peers: azurite as a process of ours, scripts beside this file by their name."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
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
    """The last line that a script prints, which is JSON."""
    env = {"PATH": os.environ["PATH"], "GITHUB_WORKSPACE": "/nonexistent", **environ}
    done = subprocess.run(
        ["node", HERE / script, *arguments], env=env, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, object] = json.loads(done.stdout.rstrip("\n").rpartition("\n")[2])
    return said


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1100):
        assert process.poll() is None, "azurite ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("azurite did not answer")
