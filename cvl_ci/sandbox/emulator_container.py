"""The emulator as a container beside ours: in a workflow's step it must outlive the container that brought it up.

It is made of our own image and mounts, on the host's network: so it is where it would be without containers. It is
found by its label alone, from any container and from the host; who may use the engine may end it.
"""

from __future__ import annotations

import ipaddress
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cvl_ci.sandbox import emulator_process
from cvl_ci.sandbox.docker.engine import LABEL, Docker, DockerFailed
from cvl_ci.sandbox.docker.in_container import Container

EMULATOR_LABEL = f"{LABEL}-emulator"
SCOUT = "cvl_ci.sandbox.emulator.host_probe"
DEVICES = "/host-devices"
"""Where it looks for them."""
PASSED_ON = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
"""What finds the docker command and its engine. Nothing else of a step's environment is the emulator's business."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the host routes already, ports that are free on it, and its devices that machines can be given."""

    routes: tuple[ipaddress.IPv4Network, ...]
    ports: tuple[int, ...]
    devices: tuple[str, ...]


def look_at_host(docker: Docker, us: Container, identity: str, *, preferred: Sequence[int]) -> Taken:
    devices = ("--volume", f"/dev:{DEVICES}:ro")
    words = ("run", "--rm", *devices, *_as_we_are(us, identity), "-m", SCOUT, DEVICES, *map(str, preferred))
    said = json.loads(docker.run(*words))
    routes = tuple(map(ipaddress.IPv4Network, said["routes"]))
    return Taken(routes=routes, ports=tuple(said["ports"]), devices=tuple(said["devices"]))


def start(
    docker: Docker,
    us: Container,
    identity: str,
    *,
    directory: Path,
    environment: Mapping[str, str],
    devices: Sequence[str],
) -> str:
    """Its name. It goes on by itself; whether it comes up is for the caller to await."""
    name = f"cvl-ci-{identity}-emulator"
    passed = [word for each in PASSED_ON if each in environment for word in ("--env", each)]
    passed += [word for each in devices for word in ("--device", each)]
    docker.run(
        "run", "--detach", "--rm", "--name", name, "--label", f"{EMULATOR_LABEL}={identity}", *passed,
        *_as_we_are(us, identity), "-m", emulator_process.MODULE, emulator_process.IN_FRONT, str(directory),
    )  # fmt: skip
    return name


def found(docker: Docker, identity: str) -> list[str]:
    """The emulator of this sandbox, where it is a container, running or not."""
    mine = ("--filter", f"label={EMULATOR_LABEL}={identity}")
    return docker.lines("ps", "--all", *mine, "--format", "{{.Names}}")


def alive(docker: Docker, name: str) -> bool:
    try:
        return docker.run("container", "inspect", "--format", "{{.State.Running}}", name) == "true"
    except DockerFailed:
        return False


def end(docker: Docker, identity: str, *, seconds: float) -> None:
    """It is asked, and takes its machines along; then it is killed. None is left afterwards."""
    for name in found(docker, identity):
        with suppress(DockerFailed):  # it may have gone by itself
            docker.run("stop", "--time", f"{seconds:.0f}", name, timeout=seconds + 30)
        with suppress(DockerFailed):
            docker.run("rm", "--force", "--volumes", name)
    deadline = time.monotonic() + 10.0
    while found(docker, identity) and time.monotonic() < deadline:  # --rm is carried out after the end, not with it
        time.sleep(0.05)


def _as_we_are(us: Container, identity: str) -> tuple[str, ...]:
    return (
        *("--label", f"{LABEL}={identity}", "--network", "host", "--volumes-from", us.id, "--workdir", "/"),
        # The package may be a checkout that only our own path finds.
        *("--env", f"PYTHONPATH={emulator_process.PACKAGES}", "--entrypoint", sys.executable, us.image),
    )
