"""Call a SkyPilot API server about a service with several replicas, with the verbs of sky_server.py.

A service has the name of its lease. The server's controller launches the cluster `NAME-NUMBER` of each replica. It
launches another one after a loss, and ends them with the service.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import yaml
from sky import exceptions
from sky.client import sdk
from sky.serve import serve_utils
from sky.serve.client import sdk as serve_sdk
from sky.server import common as server_common

from cvl_ci.backoff import Pace
from cvl_ci.engine.worker import controller_answers, server_records, sky_server
from cvl_ci.engine.worker.sky_server import warm

__all__ = ["down", "exists", "launch", "look", "recorded", "replica_log", "update", "warm"]

Send = Callable[..., None]
DAYS = 31
"""The longest life of a service, in whole days: 30 days are the longest ttl (inputs/parsers.py)."""
BLOCK, MOST_REPLICAS = 100, 10_000
"""Clusters of one service that one question about the server's records names, and the most of all questions."""
DOWN = Pace(every_seconds=3.0, within_seconds=100.0)
REGISTER = Pace(every_seconds=3.0, within_seconds=60.0)
"""SkyPilot gives a controller 60 s to register (sky/serve/constants.py, SERVICE_REGISTER_TIMEOUT_SECONDS)."""
NO_CONTROLLER = {"CONTROLLER_FAILED", "FAILED_CLEANUP"}
"""The states of a service that no process of the controller ends (serve_utils.py, `terminate_services`)."""
_requests = partial(controller_answers.requests, verbs=("serve.up", "serve.update"), field="service_name")


def launch(send: Send, *, task: dict[str, Any], cluster: str, fence: str, deadline: float, **_: Any) -> dict[str, Any]:
    """Give the server the service, and return once its controller has it. It launches the replicas later."""
    return _send_task(send, task, cluster, fence, deadline, request=lambda checked: serve_sdk.up(checked, cluster))


def update(send: Send, *, task: dict[str, Any], cluster: str, fence: str, deadline: float, **_: Any) -> dict[str, Any]:
    """Give a service that runs its next version. The controller replaces the replicas one after the other."""
    if not _services(cluster):
        raise exceptions.ClusterDoesNotExist(f"The API server shows no service {cluster}.")
    rolling = serve_utils.UpdateMode.ROLLING
    return _send_task(
        send, task, cluster, fence, deadline, request=lambda checked: serve_sdk.update(checked, cluster, rolling)
    )


def look(_send: Send, *, cluster: str) -> dict[str, Any]:
    """Return the service as its controller shows it. `version`: its newest one. `endpoint`: host and port."""
    services = _services(cluster)
    if not services:
        raise exceptions.ClusterDoesNotExist(f"The API server shows no service {cluster}.")
    [service] = services
    replicas = [
        {"id": int(one["replica_id"]), "state": _word(one["status"]), "version": int(one["version"])}
        for one in service["replica_info"]
    ]
    endpoint = _address(service.get("endpoint") or "")
    return {
        "state": _word(service["status"]),
        "version": int(service["version"]),
        "endpoint": endpoint,
        "replicas": replicas,
    }


def replica_log(_send: Send, *, cluster: str, replica: int, count: int) -> list[str]:
    """Return the last lines of a replica's log, launch included, as the controller has them."""
    output = io.StringIO()
    serve_sdk.tail_logs(
        cluster, serve_utils.ServiceComponent.REPLICA, replica, follow=False, output_stream=output, tail=count
    )
    return output.getvalue().splitlines()[-count:]


def exists(_send: Send, *, cluster: str | None) -> list[dict[str, Any]]:
    """Return the services, the machines of a service that the server has not ended, and requests under way.

    `cluster`: the name of a lease; None: the services of all leases that the server shows.
    """
    # The requests first: a service that comes into being between the two questions is in one of the answers.
    requests = _requests(cluster)
    services = [_values(service) for service in _services(cluster)]
    machines = [] if services or cluster is None else list(_machines(cluster))
    return [*requests, *services, *machines]


def recorded(_send: Send, *, cluster: str) -> list[dict[str, Any]]:
    """Return the machines of the replicas that the server recorded, one for each launch of its controller."""
    return server_records.recorded_of(_replicas(cluster), sky_server.described, days=DAYS)


def down(_send: Send, *, cluster: str) -> bool:
    """End the service, and wait until its controller has ended all replicas. Return False without a service.

    The controller goes first: while it lives, it replaces each replica that ends. A request under way is cancelled
    before that: it would make a service after this one is gone.
    """
    end = DOWN.now() + DOWN.within_seconds
    requests = [one["id"] for one in _requests(cluster) if one["is_certain"]]
    if requests:
        sdk.get(sdk.api_cancel(requests, silent=True))
    services = _registered(cluster) if requests else _services(cluster)
    if services and not _is_left_alone(services):
        sdk.get(serve_sdk.down([cluster]))
    living = services
    for _ in DOWN.ticks(until=end):
        if not living or _is_left_alone(living):
            break
        living = _services(cluster)
    numbers = [int(one["replica_id"]) for service in services for one in service.get("replica_info") or ()]
    if _is_left_alone(living) or not living:
        for machine in _machines(cluster, *numbers):
            sdk.get(sdk.down(machine["id"]))
    if _is_left_alone(living) and not list(_machines(cluster, *numbers)):
        sdk.get(serve_sdk.down([cluster], purge=True))  # it only forgets the service: no machine of it is left
    return bool(services)


def _send_task(
    send: Send,
    task: dict[str, Any],
    cluster: str,
    fence: str,
    deadline: float,
    *,
    request: Callable[[Any], Any],
) -> dict[str, Any]:
    """Check the task, record the attempt, and send the request. SkyPilot's own checks come before any request."""
    check = partial(serve_utils.validate_service_task, pool=False)
    task_object, attempt = sky_server.announce(send, task, cluster=cluster, fence=fence, check=check)
    sdk.stream_and_get(request(task_object))
    sky_server.stop_at(fence)
    return {**attempt, "job_id": 1, "accelerators": {}, "num_nodes": 1, "deadline": deadline}


def _registered(name: str) -> list[dict[str, Any]]:
    """Return the service of a cancelled request. Its controller may have begun, and registers the service later."""
    for _ in REGISTER.ticks():
        if services := _services(name):
            return services
    return []


def _services(name: str | None) -> list[dict[str, Any]]:
    """Return the server's services of this name. A server without a controller has never had a service."""
    try:
        answer = sdk.get(serve_sdk.status(None if name is None else [name]))
    except exceptions.ClusterNotUpError as error:
        if not controller_answers.is_without_work(error, name=name):
            raise
        return []
    return [service for service in sky_server.list_of(answer, of="services") if name in {None, service["name"]}]


def _is_left_alone(services: list[dict[str, Any]]) -> bool:
    """Return whether a service is there that no controller ends."""
    return any(_word(service["status"]) in NO_CONTROLLER for service in services)


def _machines(name: str, *numbers: int) -> Iterator[dict[str, Any]]:
    """Yield the clusters of replicas that the server's own records show alive. A controller elsewhere has its own.

    `numbers`: of replicas that the controller has shown. After many replacements they are high.
    """
    for cluster in server_records.living(_replicas(name, *numbers), days=DAYS):
        yield {"kind": "cluster", "id": cluster, "name": name, "state": "alive", "labels": {}}


def _values(service: dict[str, Any]) -> dict[str, Any]:
    name, state = str(service["name"]), _word(service["status"]).lower()
    return {"kind": "service", "id": name, "name": name, "state": state, "labels": _labels(service)}


def _labels(service: dict[str, Any]) -> dict[str, str]:
    """Return the lease's labels of the newest version, from its task. Its other words stay unread."""
    try:
        task = yaml.safe_load(service.get("yaml_content") or "")
    except yaml.YAMLError:
        return {}
    resources = task.get("resources") if isinstance(task, dict) else None
    labels = resources.get("labels") if isinstance(resources, dict) else None
    return controller_answers.lease_labels(labels if isinstance(labels, dict) else {})


def _address(endpoint: str) -> str:
    """Return host and port. A controller inside the server calls itself localhost (sky/serve/server/impl.py)."""
    parts = urlsplit(endpoint)
    if not parts.hostname or not parts.port:
        return ""
    own = urlsplit(server_common.get_server_url()).hostname
    return f"{own if parts.hostname == 'localhost' else parts.hostname}:{parts.port}"


def _word(status: Any) -> str:
    return str(getattr(status, "value", status))


def _replicas(name: str, *numbers: int) -> list[str]:
    """Return the names of its clusters (sky/serve/serve_utils.py, `generate_replica_cluster_name`).

    A controller numbers its launches one after the other (replica_managers.py, `_next_replica_id`). So the end is a
    block without any record, above the `numbers` that it has shown. Raise RuntimeError above MOST_REPLICAS: a part of
    the machines would be no proof.
    """
    last, end = max(numbers, default=0), BLOCK
    while end < last or server_records.are_known(_names(name, end + 1, end + BLOCK), days=DAYS):
        end += BLOCK
        if end > MOST_REPLICAS:
            raise RuntimeError(f"the API server shows more than {MOST_REPLICAS} replicas of {name}")
    return _names(name, 1, end)


def _names(name: str, first: int, last: int) -> list[str]:
    return [f"{name}-{number}" for number in range(first, last + 1)]
