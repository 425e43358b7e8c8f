"""What SkyPilot is asked, in its own process: the only file that imports sky, pinned to one minor version.

`sky.execution.launch` and `sky.core.*` are what SkyPilot's API server calls in its workers; they are internal, so
tests/engine/test_contract.py fails loudly when a new version moves them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sky
from sky import core, exceptions, execution, global_user_state
from sky.provision import provisioner

Send = Callable[..., None]


class Fenced(BaseException):
    """The lease was revoked: not an error of SkyPilot's, so nothing of SkyPilot may catch it and go on."""


def warm(send: Send) -> str:
    return str(sky.__version__)


def launch(send: Send, *, task: dict[str, Any], cluster: str, fence: str) -> dict[str, Any]:
    """Provision and submit. Every attempt is announced before the provider is asked; the fence is asked around it."""
    _announce_attempts(send, cluster=cluster, fence=Path(fence))
    job_id, handle = execution.launch(
        sky.Task.from_yaml_config(task), cluster_name=cluster, _quiet_optimizer=True, stream_logs=False
    )
    resources = handle.launched_resources
    return {
        "job_id": job_id,
        **_describe(resources),
        "zone": resources.zone,
        "num_nodes": handle.launched_nodes,
        "on_cloud": handle.cluster_name_on_cloud,
    }


def follow(send: Send, *, cluster: str, job_id: int) -> int:
    """Stream the job's output to stdout until it is over. SkyPilot's JobExitCode, never the job's own code."""
    while True:
        code = int(core.tail_logs(cluster, job_id, follow=True))
        if code in (int(exceptions.JobExitCode.NOT_FINISHED), int(exceptions.JobExitCode.NOT_FOUND)):
            status = core.job_status(cluster, [job_id]).get(job_id)
            if status is None or not status.is_terminal():
                send("again")  # the stream broke, not the job: it will print everything from its start once more
                time.sleep(2)
                continue
        return code


def cancel(send: Send, *, cluster: str, job_id: int) -> None:
    core.cancel(cluster, job_ids=[job_id], _try_cancel_if_cluster_is_init=True)


def ask_nodes(send: Send, *, cluster: str, command: str) -> list[dict[str, Any]]:
    """Run one command on every node, head first; stdout as it came, at most 64 KiB of it."""
    answers = []
    for runner in _runners(cluster):
        code, out, err = runner.run(command, require_outputs=True, separate_stderr=True, stream_logs=False)
        answers.append({"code": code, "out": out[:65536], "err": err[-2000:]})
    return answers


def bring(send: Send, *, cluster: str, remote: str, into: str) -> None:
    """Copy one remote directory from every node to `into`/RANK/."""
    for rank, runner in enumerate(_runners(cluster)):
        target = Path(into) / str(rank)
        target.mkdir(parents=True, exist_ok=True)
        runner.rsync(source=f"{remote}/", target=str(target), up=False, stream_logs=False, max_retry=3)


def down(send: Send, *, cluster: str) -> bool:
    """SkyPilot's own down. False: it had no record of it."""
    try:
        core.down(cluster)
    except exceptions.ClusterDoesNotExist:
        return False
    return True


def _announce_attempts(send: Send, *, cluster: str, fence: Path) -> None:
    """Stand before the one function through which every machine is asked for.

    SkyPilot records the cluster with the resources of this attempt just before it calls bulk_provision, which is
    how the attempt's price is known (sky/backends/cloud_vm_ray_backend.py, `_retry_zones`).
    """
    original = getattr(provisioner.bulk_provision, "original", provisioner.bulk_provision)

    def bulk_provision(cloud: Any, region: Any, zones: Any, *arguments: Any, **options: Any) -> Any:
        handle = global_user_state.get_handle_from_cluster_name(cluster)
        zone = ",".join(each.name for each in zones) if zones else None
        attempt = {**_describe(handle.launched_resources), "region": region.name, "zone": zone}
        _stop_at(fence)
        send("attempting", attempt=attempt, on_cloud=handle.cluster_name_on_cloud)
        try:
            record = original(cloud, region, zones, *arguments, **options)
        except Exception as error:
            send("attempt_failed", attempt=attempt, text=_reason(error))
            raise
        _stop_at(fence)
        send("created")
        return record

    bulk_provision.original = original  # type: ignore[attr-defined]
    provisioner.bulk_provision = bulk_provision


def _stop_at(fence: Path) -> None:
    if os.path.exists(fence):
        raise Fenced(f"The lease was revoked ({fence}): no machine may be asked for any more.")


def _describe(resources: Any) -> dict[str, Any]:
    return {
        "cloud": str(resources.cloud).lower(),
        "region": resources.region,
        "instance_type": resources.instance_type,
        "accelerators": {name: int(count) for name, count in (resources.accelerators or {}).items()},
        "spot": bool(resources.use_spot),
        "hourly_usd": float(resources.get_cost(3600)),
    }


def _reason(error: BaseException) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0] if first else ''}"[:500]


def _runners(cluster: str) -> list[Any]:
    handle = global_user_state.get_handle_from_cluster_name(cluster)
    if handle is None:
        raise exceptions.ClusterDoesNotExist(f"{cluster} is not in SkyPilot's records any more.")
    return list(handle.get_command_runners())
