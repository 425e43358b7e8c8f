"""Free ports of this computer."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from cvl_ci.errors import SandboxError

EVERYWHERE = "0.0.0.0"  # noqa: S104  # tried for an instant, never listened on
LOOPBACK = "127.0.0.1"


def free(count: int, *, hosts: Sequence[str], preferred: Sequence[int]) -> list[int]:
    """Return ports that are free on each of these addresses, the preferred ones first."""
    free_ports = [port for port in preferred if _free(port, hosts)]
    for _ in range(100):
        if len(free_ports) >= count:
            return free_ports
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in free_ports and _free(port, hosts):
            free_ports.append(port)
    raise SandboxError("No free port was found for the emulated cloud.", next_step="See what listens: ss -ltn")


def _free(port: int, hosts: Sequence[str]) -> bool:
    try:
        for host in hosts:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
    except OSError:
        return False
    return True
