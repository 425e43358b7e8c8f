"""The emulator as a second container: in a workflow's step it must outlive the container that started it.

It uses the same image and mounts as this container, on the host's network. So it runs as if there were no containers.
Its label alone identifies it, for each container and for the host. A user of the engine can end it.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cvl_ci.backoff import Pace
from cvl_ci.sandbox import emulator_process
from cvl_ci.sandbox.docker.engine import LABEL, Docker, DockerFailed
from cvl_ci.sandbox.docker.in_container import Container

EMULATOR_LABEL = f"{LABEL}-emulator"
HOST_PROBE = "cvl_ci.sandbox.emulator.host_probe"
DEVICES = "/host-devices"
"""The folder in which the probe looks for the host's devices."""
PASSED_VARIABLES = (
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
)
"""The variables that lead to the docker command and its engine. The emulator needs no others of a step."""


@dataclass(frozen=True, kw_only=True)
class HostState:
    """The routes of the host, ports that are free on it, and devices that it can give to machines."""

    routes: tuple[ipaddress.IPv4Network, ...]
    ports: tuple[int, ...]
    devices: tuple[str, ...]


def probe_host(docker: Docker, container: Container, identity: str, *, preferred: Sequence[int]) -> HostState:
    devices = ("--volume", f"/dev:{DEVICES}:ro")
    words = (
        "run",
        "--rm",
        *devices,
        *_like_this_container(container, identity),
        "-m",
        HOST_PROBE,
        DEVICES,
        *map(str, preferred),
    )
    answer = json.loads(docker.run(*words))
    routes = tuple(map(ipaddress.IPv4Network, answer["routes"]))
    return HostState(routes=routes, ports=tuple(answer["ports"]), devices=tuple(answer["devices"]))


def start(
    docker: Docker,
    container: Container,
    identity: str,
    *,
    directory: Path,
    environment: Mapping[str, str],
    devices: Sequence[str],
) -> str:
    """Start the container and return its name. It runs on its own; the caller waits until it answers."""
    name = f"cvl-ci-{identity}-emulator"
    options = [word for variable in PASSED_VARIABLES if variable in environment for word in ("--env", variable)]
    options += [word for device in devices for word in ("--device", device)]
    docker.run(
        "run", "--detach", "--rm", "--name", name, "--label", f"{EMULATOR_LABEL}={identity}", *options,
        *_like_this_container(container, identity),
        "-m", emulator_process.MODULE, emulator_process.IN_FRONT, str(directory),
    )  # fmt: skip
    return name


def find(docker: Docker, identity: str) -> list[str]:
    """Return the names of this sandbox's emulator containers, running or not."""
    own_label = ("--filter", f"label={EMULATOR_LABEL}={identity}")
    return docker.lines("ps", "--all", *own_label, "--format", "{{.Names}}")


def alive(docker: Docker, name: str) -> bool:
    try:
        return docker.run("container", "inspect", "--format", "{{.State.Running}}", name) == "true"
    except DockerFailed:
        return False


def end(docker: Docker, identity: str, *, seconds: float) -> None:
    """Ask the emulator to end with its machines, then kill it. Afterwards no emulator container exists."""
    for name in find(docker, identity):
        with suppress(DockerFailed):  # it may have ended by itself
            docker.run("stop", "--time", f"{seconds:.0f}", name, timeout=seconds + 30)
        with suppress(DockerFailed):
            docker.run("rm", "--force", "--volumes", name)
    for _ in Pace(every_seconds=0.05, within_seconds=10.0).ticks():  # Docker carries --rm out shortly after the end
        if not find(docker, identity):
            return


def _like_this_container(container: Container, identity: str) -> tuple[str, ...]:
    return (
        *("--label", f"{LABEL}={identity}", "--network", "host", "--volumes-from", container.id, "--workdir", "/"),
        # The package may be a checkout that only this process's path contains.
        *("--env", f"PYTHONPATH={emulator_process.PACKAGES}", "--entrypoint", sys.executable, container.image),
    )
