"""This process inside a container: which container, which mounts of the host, how to reach the machines.

The engine mounts known files into each container; they tell the container's id. It also knows the host's side of our
mounts. A container that shares another one's network (`--network container:…`) sees the other one's files, so this
module must tell the two apart.
"""

from __future__ import annotations

import json
import re
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.engine import Docker, DockerFailed
from cvl_ci.sandbox.docker.networks import Network

MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, kw_only=True)
class ContainerMount:
    """A directory or file of the host (`source`) that this container sees at `destination`."""

    source: PurePosixPath
    destination: PurePosixPath


@dataclass(frozen=True, kw_only=True)
class Container:
    """The container of this process. `network`: the container that owns its network, usually the same one."""

    id: str
    network: str
    image: str
    mounts: tuple[ContainerMount, ...]

    def on_host(self, path: Path) -> PurePosixPath | None:
        """Return the host's name for a path. None: the path exists in this container alone and ends with it."""
        covering = [mount for mount in self.mounts if path.is_relative_to(mount.destination)]
        nearest = max(covering, key=lambda mount: len(mount.destination.parts), default=None)
        return None if nearest is None else nearest.source / path.relative_to(nearest.destination)


def this_container(docker: Docker, mounts: Path = MOUNTS) -> Container | None:
    """Return this process's container. None: there is no container, or another engine than `docker`'s runs it."""
    network = own_container(mounts)
    if network is None:
        return None
    try:
        own = _container_of(docker, network)
        details = json.loads(docker.run("container", "inspect", "--format", "{{json .}}", own))
    except DockerFailed as error:
        if "no such" in error.output.lower():
            return None
        raise
    return Container(
        id=own,
        network=network,
        image=details["Image"],
        mounts=tuple(
            ContainerMount(source=PurePosixPath(mount["Source"]), destination=PurePosixPath(mount["Destination"]))
            for mount in details["Mounts"]
            if mount.get("Source")
        ),
    )


def own_container(mounts: Path) -> str | None:
    """Return the id in the path of files that Docker mounts into each container, or None."""
    text = mounts.read_text(encoding="utf-8", errors="replace")
    match = re.search(r"/containers/([0-9a-f]{64})/(hostname|hosts|resolv\.conf) /etc/\2 ", text)
    return match[1] if match else None


def join(docker: Docker, networks: Sequence[Network], mounts: Path = MOUNTS) -> None:
    """Connect this container to the machines' networks. Docker separates its bridges, so there is no other way."""
    holder = own_container(mounts)
    if holder is None:
        raise SandboxError(
            "The sandbox is up on this computer, but this process cannot reach it and is not in a Docker container.",
            next_step="Run this where the sandbox was started.",
        )
    for network in networks:
        try:
            docker.run("network", "connect", network.name, holder)
        except DockerFailed as error:
            # A container on the host's own network reaches all of them already.
            if not any(word in error.output.lower() for word in ("already exists", "sharing network namespace")):
                raise


def require_local_gateways(networks: Sequence[Network]) -> None:
    """Check that the gateways are addresses of this computer, because the emulator listens on them."""
    for network in networks:
        try:
            with socket.socket() as probe:
                probe.bind((network.gateway, 0))
        except OSError:
            raise SandboxError(
                "A sandbox cannot start here: the Docker Engine runs outside this container.",
                next_step="Start it next to the engine (cvl-ci sandbox up --dir DIR). Then mount DIR into this "
                "container at the same path, and also the engine's socket.",
            ) from None


def _container_of(docker: Docker, holder: str) -> str:
    """Return the container that has our files: the owner of this network, or one of those that share it.

    Docker lists no network for a container that shares another one's.
    """
    running = [line.partition(" ") for line in docker.lines("ps", "--no-trunc", "--format", "{{.ID}} {{.Networks}}")]
    sharing = [name for name, _, networks in running if not networks]
    if sharing:
        with suppress(OSError), tempfile.NamedTemporaryFile(dir="/", prefix=".cvl-ci-") as mark:
            for name in (holder, *sharing):
                with suppress(DockerFailed):
                    docker.run("cp", f"{name}:{mark.name}", "-")
                    return name
    return holder
