"""A SkyPilot API server in the sandbox's HOME, as a team has one: it has the cloud's credentials."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from cvl_ci.sandbox import SkyAccess

OWNER = {"X-Auth-Request-Email": "owner@example.org"}
CONTROLLERS = ".sky/job_controller_pid"
"""The file of the controllers of managed jobs that the server started: sky/jobs/scheduler.py."""
FEW_CONTROLLERS = {"SKYPILOT_POD_MEMORY_GB_LIMIT": "5"}
"""SkyPilot starts a controller for each share of the memory that it sees."""


@contextlib.contextmanager
def api_server(access: SkyAccess, log: Path, *, port: int, runs_jobs: bool = False) -> Iterator[tuple[str, str]]:
    """Yield address and token. `runs_jobs`: the controllers of managed jobs run in the server itself."""
    config = access.home / ".sky/config.yaml"
    before = config.read_text(encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SKYPILOT_"))}
    environment = {**kept, **access.environment, "PATH": path, "ENABLE_SERVICE_ACCOUNTS": "true"}
    if runs_jobs:
        config.write_text(f"{before}jobs: {{controller: {{consolidation_mode: true}}}}\n", encoding="utf-8")
        # A controller asks the server at this port for its machines.
        environment |= {"SKYPILOT_API_SERVER_LOCAL_PORT": str(port), **FEW_CONTROLLERS}
    endpoint = f"http://127.0.0.1:{port}"
    process = started(environment, log, port)
    try:
        deadline = time.monotonic() + 300
        while not healthy(endpoint):
            assert time.monotonic() < deadline, log.read_text()
            if process.poll() is not None:
                # Its queue has a port of its own, fixed, among those that any connection may be given for a while.
                assert "is already in use by another process" in log.read_text(), log.read_text()
                time.sleep(5)
                process = started(environment, log, port)
            time.sleep(1)
        body = {"token_name": "ci"}
        created = requests.post(f"{endpoint}/users/service-account-tokens", headers=OWNER, json=body, timeout=60)
        yield endpoint, created.json()["token"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        end_controllers(access.home)
        config.write_text(before, encoding="utf-8")


def started(environment: dict[str, str], log: Path, port: int) -> subprocess.Popen[bytes]:
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "sky.server.server", "--host=127.0.0.1", f"--port={port}"],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end_controllers(home: Path) -> None:
    """End the controllers, which have sessions of their own."""
    pids = home / CONTROLLERS
    for line in pids.read_text().split() if pids.exists() else ():
        number = line.partition(",")[0]
        with contextlib.suppress(OSError):
            if str(home).encode() in Path(f"/proc/{number}/environ").read_bytes():
                os.kill(int(number), 9)
    pids.unlink(missing_ok=True)


def healthy(endpoint: str) -> bool:
    try:
        return requests.get(f"{endpoint}/api/health", timeout=5).ok
    except requests.RequestException:
        return False
