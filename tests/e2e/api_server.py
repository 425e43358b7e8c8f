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
REACHABLE = """
import importlib.abc, importlib.util, sys

class Reachable(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "sky.backends.backend_utils":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def changed(module):
            execute(module)
            assert module._TEST_IP_LIST
            module._TEST_IP_LIST = [{address!r}]

        spec.loader.exec_module = changed
        return spec

sys.meta_path.insert(0, Reachable())
"""
"""A sitecustomize.py for the server and its controllers. An address of this computer stands for the internet.

A controller looks at a job only while 8.8.8.8 or 1.1.1.1 answers, and the computer of a test may have no internet.
"""


@contextlib.contextmanager
def api_server(
    access: SkyAccess, log: Path, *, port: int, runs_jobs: bool = False, runs_services: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield address and token. `runs_jobs`, `runs_services`: those controllers run in the server itself."""
    config = access.home / ".sky/config.yaml"
    before = config.read_text(encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SKYPILOT_"))}
    environment = {**kept, **access.environment, "PATH": path, "ENABLE_SERVICE_ACCOUNTS": "true"}
    if runs_jobs or runs_services:
        kinds = [kind for kind, is_run in (("jobs", runs_jobs), ("serve", runs_services)) if is_run]
        own = "".join(f"{kind}: {{controller: {{consolidation_mode: true}}}}\n" for kind in kinds)
        config.write_text(f"{before}{own}", encoding="utf-8")
        # A controller asks the server at this port for its machines.
        environment |= {"SKYPILOT_API_SERVER_LOCAL_PORT": str(port), **FEW_CONTROLLERS}
        environment["PYTHONPATH"] = str(reachable(log.with_suffix(".site"), f"http://127.0.0.1:{port}/api/health"))
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


def reachable(folder: Path, address: str) -> Path:
    """Return a folder for PYTHONPATH, which SkyPilot's controllers have from their server."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(REACHABLE.format(address=address), encoding="utf-8")
    return folder


def end_controllers(home: Path) -> None:
    """End the controllers, which have sessions of their own. A sandbox that was reset has no list of them."""
    for found in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (found / "cmdline").read_bytes()
            is_one = b"sky.jobs.controller" in words or b"sky.serve.service" in words or b"spawn_main" in words
            if is_one and f"HOME={home}".encode() in (found / "environ").read_bytes().split(b"\0"):
                os.kill(int(found.name), 9)
    (home / CONTROLLERS).unlink(missing_ok=True)


def healthy(endpoint: str) -> bool:
    try:
        return requests.get(f"{endpoint}/api/health", timeout=5).ok
    except requests.RequestException:
        return False
