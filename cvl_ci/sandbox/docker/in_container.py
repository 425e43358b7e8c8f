"""Being a container ourselves: which one, what of the host is mounted in us, how to come among the machines.

The engine knows us by the files it mounts in every container, and names the host's side of our mounts. A container that
shares another one's network (`--network container:…`) has that one's files, and has to be told apart from it.
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
class Mount:
    """A directory or file of the host's (`source`) that we see at `destination`."""

    source: PurePosixPath
    destination: PurePosixPath


@dataclass(frozen=True, kw_only=True)
class Container:
    """The one we run in. `network`: the container whose network it is, most often the same."""

    id: str
    network: str
    image: str
    mounts: tuple[Mount, ...]

    def on_host(self, path: Path) -> PurePosixPath | None:
        """The same place as the host names it. None: it is in this container alone, and ends with it."""
        here = [mount for mount in self.mounts if path.is_relative_to(mount.destination)]
        nearest = max(here, key=lambda mount: len(mount.destination.parts), default=None)
        return None if nearest is None else nearest.source / path.relative_to(nearest.destination)


def ourselves(docker: Docker, mounts: Path = MOUNTS) -> Container | None:
    """None: this is no container, or none of the engine that `docker` reaches."""
    network = own_container(mounts)
    if network is None:
        return None
    try:
        own = _among(docker, network)
        known = json.loads(docker.run("container", "inspect", "--format", "{{json .}}", own))
    except DockerFailed as error:
        if "no such" in error.said.lower():
            return None
        raise
    return Container(
        id=own,
        network=network,
        image=known["Image"],
        mounts=tuple(
            Mount(source=PurePosixPath(each["Source"]), destination=PurePosixPath(each["Destination"]))
            for each in known["Mounts"]
            if each.get("Source")
        ),
    )


def own_container(mounts: Path) -> str | None:
    """Docker mounts some files of every container from a directory that carries its id."""
    text = mounts.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"/containers/([0-9a-f]{64})/(hostname|hosts|resolv\.conf) /etc/\2 ", text)
    return found[1] if found else None


def join(docker: Docker, networks: Sequence[Network], mounts: Path = MOUNTS) -> None:
    """Machines are reachable from within their own networks alone: Docker keeps its bridges apart."""
    holder = own_container(mounts)
    if holder is None:
        raise SandboxError(
            "The sandbox is up on this computer, but out of reach from here, and this is no Docker container either.",
            next_step="Run this where the sandbox was brought up.",
        )
    for network in networks:
        try:
            docker.run("network", "connect", network.name, holder)
        except DockerFailed as error:
            # On the host's own network all of them are in reach as it is.
            if not any(word in error.said.lower() for word in ("already exists", "sharing network namespace")):
                raise


def want_gateways_here(networks: Sequence[Network]) -> None:
    """The emulator listens there: they must be addresses of this computer, not of one around or far from it."""
    for network in networks:
        try:
            with socket.socket() as probe:
                probe.bind((network.gateway, 0))
        except OSError:
            raise SandboxError(
                "A sandbox cannot be brought up from here: the Docker Engine is outside of this container.",
                next_step="Bring it up beside the engine (cvl-ci sandbox up --dir DIR), then mount DIR in here at the "
                "same path, and the engine's socket.",
            ) from None


def _among(docker: Docker, holder: str) -> str:
    """Of the holder of this network and those who share it, which list no network, the one that has our files."""
    running = [line.partition(" ") for line in docker.lines("ps", "--no-trunc", "--format", "{{.ID}} {{.Networks}}")]
    sharing = [name for name, _, networks in running if not networks]
    if sharing:
        with suppress(OSError), tempfile.NamedTemporaryFile(dir="/", prefix=".cvl-ci-") as mark:
            for name in (holder, *sharing):
                with suppress(DockerFailed):
                    docker.run("cp", f"{name}:{mark.name}", "-")
                    return name
    return holder
