"""Being a container ourselves: beside a sandbox of this host one can be a guest, by joining its networks."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker import Docker, DockerFailed
from cvl_ci.sandbox.networks import Network


def join(docker: Docker, networks: Sequence[Network], mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Machines are reachable from within their own networks alone: Docker keeps its bridges apart."""
    ourselves = own_container(mounts)
    if ourselves is None:
        raise SandboxError(
            "The sandbox is up on this computer, but out of reach from here, and this is no Docker container either.",
            next_step="Run this where the sandbox was brought up.",
        )
    for network in networks:
        try:
            docker.run("network", "connect", network.name, ourselves)
        except DockerFailed as error:
            if "already exists" not in error.said.lower():
                raise


def own_container(mounts: Path) -> str | None:
    """Docker mounts some files of every container from a directory that carries its id."""
    found = re.search(r"/containers/([0-9a-f]{64})/", mounts.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None


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
