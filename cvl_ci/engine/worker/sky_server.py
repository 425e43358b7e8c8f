"""Call a SkyPilot API server with the verbs of sky_local.py. The server launches and knows the clouds.

The team's server holds the credentials and the records. A run brings the server's address and a token. The server
continues a launch whose client is gone, so cvl-ci must stop it. Taking a cluster down begins with that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sky
from sky import StatusRefreshMode, exceptions
from sky.client import sdk
from sky.skylet import autostop_lib
from sky.utils import cluster_utils, command_runner, dag_utils

from cvl_ci.backoff import Pace
from cvl_ci.engine import deadline as deadlines
from cvl_ci.engine import node_commands, quoted_prices
from cvl_ci.engine.task import script
from cvl_ci.engine.worker import heartbeat as beating
from cvl_ci.engine.worker import provision_hooks, server_records
from cvl_ci.engine.worker.heartbeat import minutes_at

Send = Callable[..., None]
AWAY_SECONDS = 180.0
"""A server may be away this long, while a new version rolls out, before the job counts as lost."""
AGAIN = Pace(every_seconds=2.0)
"""Between two tries to read a stream that broke off."""
UNFINISHED = {"PENDING", "WAITING", "RUNNING"}
"""The states of a request that the server has not answered."""
_LAUNCHES = {"launch", "sky.launch"}


def warm(_send: Send) -> str:
    return str(sky.__version__)


def launch(
    send: Send,
    *,
    task: dict[str, Any],
    cluster: str,
    fence: str,
    deadline: float,
    money: dict[str, Any],
    quoted: dict[str, Any],
    heartbeat: float,
    **_: Any,
) -> dict[str, Any]:
    """Send one request to the server, which chooses the places itself. So one attempt is announced for all of them.

    `money` moves the machine's end forward once its price is known, which is when the machine exists. A
    server takes no places to avoid: it reads a task's YAML, which cannot name them (sky/task.py, to_yaml_config).
    """
    task_object, _attempt = announce(send, task, cluster=cluster, fence=fence)
    prices = quoted_prices.of_values(quoted)
    lines = server_records.LaunchLines(lambda: _name(send, cluster, prices))
    try:
        job_id, _ = sdk.stream_and_get(sdk.launch(task_object, cluster_name=cluster), output_stream=lines)
    finally:
        lines.close()
    stop_at(fence)
    handle = _record(cluster)["handle"]
    description = described(handle.launched_resources, prices)
    end = deadlines.of(deadline, money)
    end.set_price(description["hourly_usd"] or 0.0, cloud=description["cloud"])
    if not heartbeat and end.at < deadline:
        _end_in(minutes_at(time.time(), deadline=end.at, heartbeat=0), cluster=cluster)
    beat(send, cluster=cluster, deadline=end.at, heartbeat=heartbeat)
    return {
        "job_id": job_id,
        **description,
        "zone": handle.launched_resources.zone,
        "num_nodes": handle.launched_nodes,
        "on_cloud": handle.cluster_name_on_cloud,
        "deadline": end.at,
    }


def submit(_send: Send, *, cluster: str, task: dict[str, Any]) -> int:
    """Start a further job on live machines. The server sends its files and queues its commands."""
    task_object = provision_hooks.task_of(task)
    with _runners(cluster) as runners:
        node_commands.check(node_commands.ask(runners, script.before_further_job()))
    job_id, _ = sdk.stream_and_get(sdk.exec(task_object, cluster_name=cluster))
    if job_id is None:
        raise RuntimeError("The API server did not take the job.")
    return int(job_id)


def count_machines(_send: Send, *, cluster: str) -> int:
    """Return how many machines the cluster has, after the server has asked the cloud again."""
    records = list_of(sdk.get(sdk.status([cluster], refresh=StatusRefreshMode.FORCE)), of="clusters")
    if not records:
        return 0
    if getattr(records[0]["status"], "value", records[0]["status"]) != "UP":
        raise exceptions.ClusterNotUpError(f"{cluster} is {records[0]['status']}", cluster_status=None)
    return int(records[0]["handle"].launched_nodes)


def follow(send: Send, *, cluster: str, job_id: int, **_: Any) -> int:
    """Stream the job's output to stdout until it is over. Return SkyPilot's JobExitCode, never the job's own code.

    The server itself watches the machines.
    """
    away_since = 0.0
    while True:
        start = time.monotonic()
        try:
            code = int(sdk.tail_logs(cluster, job_id, follow=True))
            status = sdk.get(sdk.job_status(cluster, [job_id])).get(job_id)
        except (OSError, exceptions.ApiServerConnectionError):  # the errors of `requests` are OSErrors
            if time.monotonic() - start > AWAY_SECONDS:
                away_since = 0.0  # it streamed for long before it broke, so this is another outage
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > AWAY_SECONDS:
                raise
        else:
            away_since = 0.0
            if status is not None and status.is_terminal():
                return code
        send("again")
        AGAIN.pause()


def beat(send: Send, *, cluster: str, deadline: float, heartbeat: float) -> None:
    beating.begin(lambda minutes: _end_in(minutes, cluster=cluster), minutes=heartbeat, deadline=deadline, send=send)


def job_status(_send: Send, *, cluster: str, job_id: int) -> str | None:
    """Return SkyPilot's state of the job, such as FAILED_DRIVER. None: it does not know the job."""
    status = sdk.get(sdk.job_status(cluster, [job_id])).get(job_id)
    return None if status is None else str(status.value)


def cancel(_send: Send, *, cluster: str, job_id: int) -> None:
    sdk.get(sdk.cancel(cluster, job_ids=[job_id], _try_cancel_if_cluster_is_init=True))


def ask_nodes(_send: Send, *, cluster: str, command: str) -> list[dict[str, Any]]:
    with _runners(cluster) as runners:
        return node_commands.ask(runners, command)


def bring(_send: Send, *, cluster: str, remote: str, files: list[list[tuple[str, int]]], into: str) -> list[str]:
    with _runners(cluster) as runners:
        return node_commands.bring(runners, remote=remote, files=files, into=Path(into))


def keep(_send: Send, *, cluster: str, **_: Any) -> list[str]:
    """Refuse: its labels could not change with it, so the next reaper would end it while a person uses it."""
    raise exceptions.NotSupportedError(f"{cluster} cannot be kept on through a SkyPilot API server.")


def down(_send: Send, *, cluster: str) -> bool:
    """Take the cluster down. First end its launches under way: one of them would bring the cluster back."""
    beating.rest()
    if under_way := _launches(cluster):
        sdk.get(sdk.api_cancel([request.request_id for request in under_way], silent=True))
    try:
        sdk.get(sdk.down(cluster))
    except exceptions.ClusterDoesNotExist:
        return False
    return True


def exists(_send: Send, *, cluster: str) -> list[dict[str, Any]]:
    """Return the cluster and its launches under way, after the server has asked the cloud again."""
    clusters = [
        {"kind": "cluster", "id": record["name"], "state": str(getattr(record["status"], "value", record["status"]))}
        for record in list_of(sdk.get(sdk.status([cluster], refresh=StatusRefreshMode.FORCE)), of="clusters")
    ]
    return clusters + [
        {"kind": "launch", "id": request.request_id, "state": request.status.lower()} for request in _launches(cluster)
    ]


def recorded(_send: Send, *, cluster: str) -> list[dict[str, Any]]:
    """Return the machines that the server recorded under this name, with the dates of its own clock."""
    return server_records.recorded(cluster, described)


def _name(send: Send, cluster: str, prices: quoted_prices.QuotedPrices) -> None:
    """Send the machine that the server has recorded for the attempt under way."""
    [record] = sdk.get(sdk.status([cluster]))
    resources = record["handle"].launched_resources
    send("named", attempt={**described(resources, prices), "zone": resources.zone})


def _end_in(minutes: int, *, cluster: str) -> None:
    sdk.get(sdk.autostop(cluster, minutes, wait_for=autostop_lib.AutostopWaitFor.NONE, down=True))


def _launches(cluster: str) -> list[Any]:
    requests = list_of(sdk.api_status(all_status=False, cluster_name=cluster), of="requests")
    return [
        request
        for request in requests
        if request.name in _LAUNCHES and request.status in UNFINISHED and request.cluster_name == cluster
    ]


def list_of(answer: Any, *, of: str) -> list[Any]:
    """Return the answer if it is a list.

    The server's answer is a list, `[]` without entries (sky/client/sdk.py: status, api_status). Another answer, such as
    an empty object, proves nothing.
    """
    if not isinstance(answer, list):
        raise TypeError(f"the API server's answer about {of} is a {type(answer).__name__} and not a list")
    return answer


def _record(cluster: str) -> Any:
    records = sdk.get(sdk.status([cluster], _include_credentials=True))
    if not records:
        raise exceptions.ClusterDoesNotExist(f"{cluster} is not in the API server's records any more.")
    return records[0]


@contextmanager
def _runners(cluster: str) -> Iterator[list[Any]]:
    """Yield ssh connections straight to the machines, with the key that the server gives to the cluster's owner."""
    record = _record(cluster)
    handle, credentials = record["handle"], dict(record["credentials"])
    credentials["ssh_private_key"] = cluster_utils.SSHConfigHelper.generate_local_key_file(
        handle.cluster_name, credentials
    )
    credentials.pop("ssh_private_key_content", None)
    nodes = list(zip(handle.cached_external_ips, handle.cached_external_ssh_ports, strict=True))
    try:
        yield command_runner.SSHCommandRunner.make_runner_list(nodes, **credentials)
    finally:
        Path(credentials["ssh_private_key"]).expanduser().unlink(missing_ok=True)


def described(resources: Any, prices: quoted_prices.QuotedPrices | None = None) -> dict[str, Any]:
    """Return the resources. SkyPilot's catalogue may be missing on this computer: then there is no price."""
    try:
        return provision_hooks.describe(resources, prices or quoted_prices.QuotedPrices())
    except Exception:  # noqa: BLE001  the machine exists and the job runs: a missing price must not fail it
        return {**_plain(resources), "accelerators": {}, "hourly_usd": None}


def announce(
    send: Send,
    task: dict[str, Any],
    *,
    cluster: str,
    fence: str,
    check: Callable[[Any], object] = lambda _task_object: None,
) -> tuple[Any, dict[str, Any]]:
    """Check the task, and record the attempt before any request for a machine. Return SkyPilot's task and the attempt.

    `check`: SkyPilot's own for a task of this kind. The server's answers about the token and the task are errors here.
    """
    task_object = provision_hooks.task_of(task)
    sdk.get(sdk.status([cluster]))
    check(task_object)
    sdk.validate(dag_utils.convert_entrypoint_to_dag(task_object))
    stop_at(fence)
    resources = next(iter(task_object.resources))
    attempt = {**_plain(resources), "zone": resources.zone, "hourly_usd": None}
    send("attempting", attempt=attempt)
    return task_object, attempt


def _plain(resources: Any) -> dict[str, Any]:
    return {
        "cloud": str(resources.cloud).lower() if resources.cloud else "any",
        "region": resources.region or "",
        "instance_type": resources.instance_type or "",
        "spot": bool(resources.use_spot),
    }


def stop_at(fence: str) -> None:
    if Path(fence).exists():
        raise provision_hooks.Fenced(f"The lease was revoked ({fence}): no machine may be requested any more.")
