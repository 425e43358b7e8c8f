"""End the connections that ssh keeps open after its commands: their processes are not in the worker's session.

SkyPilot's ssh keeps a connection for 300 s (ControlPersist). A machine that stays would keep it for as long.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

SECONDS = 2.0
"""All connections have this long to take the request."""


def end_kept(folder: Path, *, environment: Mapping[str, str]) -> None:
    """Ask the process of each socket in this folder's folders to exit. It raises no error, and waits SECONDS at most.

    `folder`: that of private_channels.keep_sockets_in. A connection that does not answer ends by itself later.
    """
    until = time.monotonic() + SECONDS
    requests: list[subprocess.Popen[bytes]] = []
    try:
        with contextlib.suppress(OSError):  # no program of that name, or no folder
            requests.extend(_ask(path, environment) for path in folder.glob("*/*") if path.is_socket())
        for process in requests:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, until - time.monotonic()))
    finally:
        for process in requests:
            process.kill()
            process.wait()


def _ask(path: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Send the request through the socket alone: ssh connects to no machine for it, and reads no settings."""
    words = ["ssh", "-F", "/dev/null", "-S", str(path), "-O", "exit", "machine"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet, env=dict(environment))
