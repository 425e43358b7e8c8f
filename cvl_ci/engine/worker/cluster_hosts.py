"""Find the machines of a cluster in SkyPilot's records, and the ways into them. In the worker process only."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sky import clouds, exceptions, global_user_state
from sky.backends import backend_utils
from sky.utils import command_runner

from cvl_ci.backoff import Backoff
from cvl_ci.engine import node_commands
from cvl_ci.engine.task import script

SET_UP = Backoff(tries=3, first_seconds=1.0, growth=5.0)
"""The tries to end the set-up of a machine. A connection may break for a moment."""


def runners_of(cluster: str) -> list[Any]:
    """Return a runner for each machine, the head first."""
    return list(handle_of(cluster).get_command_runners())


def hosts_of(cluster: str, *, with_key: bool) -> Iterator[tuple[Any, str]]:
    """Yield a runner and a person's ssh command for each machine itself, even if the job runs in a container on it."""
    handle = handle_of(cluster)
    login = backend_utils.ssh_credential_from_yaml(handle.cluster_yaml, ssh_user=handle.ssh_user)
    login.pop("ssh_control_name", None)
    proxy, key = login["ssh_proxy_command"], Path(login["ssh_private_key"]).expanduser()
    # A new machine may have an address of an earlier one. That is not an attack, and SkyPilot does not check either.
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    options += ["-i", str(key), "-o", "IdentitiesOnly=yes"] if with_key else []
    options += ["-o", f"ProxyCommand={proxy}"] if proxy else []
    for address, port in zip(handle.external_ips(), handle.external_ssh_ports(), strict=True):
        elsewhere = ["-p", str(port)] if port != 22 else []
        way_in = shlex.join(["ssh", *options, *elsewhere, f"{login['ssh_user']}@{address}"])
        yield command_runner.SSHCommandRunner((address, port), **login, ssh_control_name=None), way_in


def end_set_up(cluster: str) -> None:
    """Remove the earlier end of machines with a timer. From now on, their heartbeat and their deadline count."""
    handle = handle_of(cluster)
    if not isinstance(handle.launched_resources.cloud, clouds.AWS):
        return

    def remove() -> None:
        hosts = [host for host, _ in hosts_of(cluster, with_key=False)] if handle.docker_user else runners_of(cluster)
        node_commands.check(node_commands.ask(hosts, script.end_set_up()))

    SET_UP.run(remove, pause=lambda _, attempt: SET_UP.seconds(attempt))


def handle_of(cluster: str) -> Any:
    """Return SkyPilot's handle. Raises ClusterDoesNotExist."""
    handle = global_user_state.get_handle_from_cluster_name(cluster)
    if handle is None:
        raise exceptions.ClusterDoesNotExist(f"{cluster} is not in SkyPilot's records any more.")
    return handle
