"""Call SkyPilot in the worker process.

Only this module, job_driver.py, one_node_log.py, provision_hooks.py, private_channels.py, skylet_channel.py and
skypilot_wheel.py import sky to launch.
SkyPilot's API server calls `sky.execution.launch` and `sky.core.*` in its workers. They are internal. So
tests/engine/test_contract.py fails loudly when a new version moves them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sky
from sky import backends, clouds, core, exceptions, execution, global_user_state, provision
from sky.backends import backend_utils
from sky.clouds.utils import gcp_utils
from sky.skylet import autostop_lib
from sky.utils.status_lib import ClusterStatus

from cvl_ci.backoff import Pace
from cvl_ci.engine import deadline as deadlines
from cvl_ci.engine import node_commands, quoted_prices
from cvl_ci.engine.deadline import Deadline
from cvl_ci.engine.fetch import checkpoint_copy
from cvl_ci.engine.task import script
from cvl_ci.engine.worker import (
    bucket_hooks,
    job_driver,
    known_volumes,
    mount_packages,
    node_watch,
    one_node_log,
    private_channels,
    provision_hooks,
    skylet_channel,
    skypilot_wheel,
    store_keys,
)
from cvl_ci.engine.worker import heartbeat as beating
from cvl_ci.engine.worker.adoption import adopt, ask_head, forget
from cvl_ci.engine.worker.cluster_hosts import end_set_up, handle_of, hosts_of, runners_of
from cvl_ci.engine.worker.heartbeat import minutes_at
from cvl_ci.engine.worker.log_tail import tail_log
from cvl_ci.engine.worker.open_port import opening_of
from cvl_ci.engine.worker.shared_group import one_shared_group

_ENDED = frozenset(
    int(code)
    for code in (exceptions.JobExitCode.SUCCEEDED, exceptions.JobExitCode.FAILED, exceptions.JobExitCode.CANCELLED)
)
"""The codes of a stream whose job is over."""
SILENT_SECONDS = 60.0
"""A machine may be out of reach this long before the engine asks it for the job's end for the last time."""
AGAIN = Pace(every_seconds=2.0)
"""Between two tries to read a stream that broke off."""
SET_UP_LOOK_SECONDS, SET_UP_CHECKS = 10.0, 3
"""SkyPilot waits minutes for a machine that the provider took during its set-up. New machines are listed late."""

Send = Callable[..., None]

__all__ = ["adopt", "ask_head", "forget", "tail_log"]
"""The worker's verbs that another module defines."""


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
    set_up_minutes: float,
    avoid: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
    opening: dict[str, Any] | None = None,
    key: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Provision and submit. `avoid`: refused requests, of which none is repeated. `volumes`: those that must exist.

    `key`: the machines' key pair, where the caller has one. `set_up_minutes`: 0 for a machine without an earlier end.
    The parent records every attempt before the request to the provider. The fence is checked around each attempt.
    """
    end = deadlines.of(deadline, money)
    prices = quoted_prices.of_values(quoted)
    guarded = provision_hooks.guard_attempts(
        send,
        cluster=cluster,
        fence=Path(fence),
        deadline=end,
        quoted=prices,
        opening=opening_of(opening),
        watched=lambda: _watched(send, cluster=cluster, seconds=SET_UP_LOOK_SECONDS, missing_checks=SET_UP_CHECKS),
        set_up_seconds=set_up_minutes * 60 or math.inf,
    )
    bucket_hooks.announce(send, task=task, fence=Path(fence))
    mount_packages.answer_dpkg()
    store_keys.limit(task, folder=private_channels.private_folder())
    skypilot_wheel.provide()
    job_driver.provide()
    _arm_by_the_clock(end, heartbeat=heartbeat)
    private_channels.give_a_key_of_its_own(cluster, key=key)
    known_volumes.register(volumes)
    task_object = provision_hooks.task_of(task)
    provision_hooks.avoid(task_object, avoid)
    try:
        with one_shared_group(), guarded:
            job_id, handle = execution.launch(
                task_object, cluster_name=cluster, _quiet_optimizer=True, stream_logs=False
            )
    except exceptions.NoCloudAccessError as error:
        raise exceptions.NoCloudAccessError(_why_no_access(task_object)) from error
    end_set_up(cluster)
    beat(send, cluster=cluster, deadline=end.at, heartbeat=heartbeat)
    return {
        "job_id": job_id,
        **provision_hooks.describe(handle.launched_resources, prices),
        "zone": handle.launched_resources.zone,
        "num_nodes": handle.launched_nodes,
        "on_cloud": handle.cluster_name_on_cloud,
        "deadline": end.at,
    }


def submit(_send: Send, *, cluster: str, task: dict[str, Any]) -> int:
    """Start a further job on live machines: send its files to their working directory, and queue its commands.

    Not execution.exec: it first asks the cloud and Ray for the cluster's state, which takes ten seconds. Its two stages
    are these (sky/execution.py, exec: SYNC_WORKDIR and EXEC). The files of the job before stay: rsync removes none.
    """
    handle = handle_of(cluster)
    # A backend of its own: the one of the launch still holds the setup of the launch's job.
    backend = backends.CloudVmRayBackend()
    task_object = provision_hooks.task_of(task)
    node_commands.check(node_commands.ask(runners_of(cluster), script.before_further_job()))
    if task_object.workdir is not None:
        backend.sync_workdir(handle, task_object.workdir, task_object.envs_and_secrets)
    job_driver.provide()
    with skylet_channel.sending_inline():  # before_further_job has made the folder of programs private
        job_id = backend.execute(handle, task_object, dryrun=False)
    if job_id is None:
        raise RuntimeError("SkyPilot did not take the job.")
    return int(job_id)


def follow(
    send: Send, *, cluster: str, job_id: int, look_seconds: float, checkpoints: dict[str, Any] | None = None
) -> int:
    """Stream the job's output to stdout until it is over. Return SkyPilot's JobExitCode, never the job's own code.

    `checkpoints`: where checkpoint_copy.py copies them meanwhile; None: nowhere.
    """
    watched = _watched(send, cluster=cluster, seconds=look_seconds)
    with watched, checkpoint_copy.during(checkpoints, runners=lambda: runners_of(cluster), send=send):
        return _streamed(send, cluster=cluster, job_id=job_id)


def _watched(
    send: Send, *, cluster: str, seconds: float, missing_checks: int = node_watch.MISSING_CHECKS
) -> AbstractContextManager[None]:
    of = int(handle_of(cluster).launched_nodes)
    return node_watch.watched(
        lambda: count_machines(send, cluster=cluster),
        nodes=of,
        lost=lambda count: send("nodes_lost", alive=count, of=of),
        interval_seconds=seconds,
        missing_checks=missing_checks,
    )


def count_machines(_send: Send, *, cluster: str) -> int:
    """Return how many machines the provider shows: all but those that are stopped, ended or absent.

    TPU VMs count as shown: SkyPilot's question ends them if a list is empty (sky/provision/gcp/instance.py, 108-113).
    """
    handle = handle_of(cluster)
    if gcp_utils.is_tpu_vm(handle.launched_resources):
        return int(handle.launched_nodes)
    provider = global_user_state.get_cluster_yaml_dict(handle.cluster_yaml)["provider"]
    cloud = repr(handle.launched_resources.cloud)
    machines = provision.query_instances(cloud, cluster, handle.cluster_name_on_cloud, provider)
    return sum(status is not ClusterStatus.STOPPED for status, _ in machines.values())


def _streamed(send: Send, *, cluster: str, job_id: int) -> int:
    """Stream until the job is over. A code that is not the job's own only shows that the stream broke.

    SkyPilot returns ssh's own code (255) when the connection is lost: sky/backends/cloud_vm_ray_backend.py, tail_logs.
    """
    silent_since: float | None = None
    log = one_node_log.of_job(handle_of(cluster), job_id)
    while True:
        handle = handle_of(cluster)
        # Not core.tail_logs: with autodown armed it first asks the cloud and Ray for the cluster's state, which takes
        # ten seconds.
        backend = backend_utils.get_backend_from_handle(handle)
        code = log.follow(handle) if log else int(backend.tail_logs(handle, job_id, follow=True))
        if code in _ENDED:
            return code
        try:
            status = core.job_status(cluster, [job_id]).get(job_id)
        except (exceptions.ClusterNotUpError, exceptions.ClusterDoesNotExist):
            return code
        except Exception:  # noqa: BLE001  SkyPilot raises many kinds when a machine does not answer
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > SILENT_SECONDS:
                return code
            AGAIN.pause()
            continue
        silent_since = None
        if status is not None and status.is_terminal():
            return code
        if log is None:
            send("again")  # the stream broke, not the job: it will print everything again from its start
        AGAIN.pause()


def beat(send: Send, *, cluster: str, deadline: float, heartbeat: float) -> None:
    """Renew the machine's own end as long as this process lives: it dies with the run."""
    beating.begin(lambda minutes: _end_in(minutes, cluster=cluster), minutes=heartbeat, deadline=deadline, send=send)


def job_status(_send: Send, *, cluster: str, job_id: int) -> str | None:
    """Return SkyPilot's state of the job, such as FAILED_DRIVER. None: it does not know the job."""
    status = core.job_status(cluster, [job_id]).get(job_id)
    return None if status is None else str(status.value)


def cancel(_send: Send, *, cluster: str, job_id: int) -> None:
    """Cancel the job. Not core.cancel: it first asks the cloud and Ray for the cluster's state."""
    handle = handle_of(cluster)
    backend_utils.get_backend_from_handle(handle).cancel_jobs(handle, [job_id])


def ask_nodes(_send: Send, *, cluster: str, command: str) -> list[dict[str, Any]]:
    return node_commands.ask(runners_of(cluster), command)


def bring(_send: Send, *, cluster: str, remote: str, files: list[list[tuple[str, int]]], into: str) -> list[str]:
    return node_commands.bring(runners_of(cluster), remote=remote, files=files, into=Path(into))


def keep(_send: Send, *, cluster: str, deadline: float, public_key: str | None, heartbeat: float = 0.0) -> list[str]:
    """Replace the heartbeat's end of the machine by its own, and return the ssh command to each node.

    `heartbeat`: the minutes after which it ends without a renewal, or 0 for `deadline`.
    """
    beating.rest()
    # In whole minutes, so rounded up. A timer armed at boot ends the machine to the second.
    latest = deadline + 60
    _arm_by_the_clock(Deadline(latest), heartbeat=0)
    _end_in(minutes_at(time.time(), deadline=latest, heartbeat=heartbeat), cluster=cluster)
    ways_in = []
    for runner, way_in in hosts_of(cluster, with_key=public_key is None):
        command = script.keep(deadline=deadline, public_key=public_key)
        code, _, err = runner.run(command, require_outputs=True, separate_stderr=True, stream_logs=False)
        if code:
            raise RuntimeError(f"The machine did not take its new end: {err.strip()[-300:] or f'status {code}'}")
        ways_in.append(way_in)
    return ways_in


def enter(send: Send, *, cluster: str, deadline: float, heartbeat: float, quoted: dict[str, Any]) -> dict[str, Any]:
    """Renew the end of live machines of an earlier process from now on, and describe them."""
    handle = handle_of(cluster)
    if count_machines(send, cluster=cluster) != handle.launched_nodes:
        raise exceptions.ClusterDoesNotExist(f"The provider does not show all machines of {cluster}.")
    end_set_up(cluster)  # the runner that launched them may have been lost just before that
    beat(send, cluster=cluster, deadline=deadline, heartbeat=heartbeat)
    resources = handle.launched_resources
    return {
        **provision_hooks.describe(resources, quoted_prices.of_values(quoted)),
        "zone": resources.zone,
        "num_nodes": handle.launched_nodes,
        "deadline": deadline,
    }


def address(_send: Send, *, cluster: str) -> str:
    """Return the address of the head, as its machine is reached from outside."""
    return str(handle_of(cluster).external_ips()[0])


def down(_send: Send, *, cluster: str) -> bool:
    """Take the cluster down by SkyPilot's own down. Return False if it had no record of the cluster."""
    beating.rest()
    skylet_channel.close()
    try:
        core.down(cluster)
        is_known = True
    except exceptions.ClusterDoesNotExist:
        is_known = False
    private_channels.forget_key(cluster)
    return is_known


def _end_in(minutes: int, *, cluster: str) -> None:
    """Arm the machine's end.

    Not core.autostop: it first asks the cloud. Without wait_for, it would wait for the job.
    """
    handle = handle_of(cluster)
    backend = backend_utils.get_backend_from_handle(handle)
    backend.set_autostop(handle, minutes, autostop_lib.AutostopWaitFor.NONE, down=True, stream_logs=False)


def _arm_by_the_clock(deadline: Deadline, *, heartbeat: float) -> None:
    """Recompute the minutes when SkyPilot arms them, which is after provisioning: SkyPilot counts them from then on."""
    original = getattr(backends.CloudVmRayBackend.set_autostop, "original", backends.CloudVmRayBackend.set_autostop)

    def set_autostop(backend: Any, handle: Any, minutes: int | None, *arguments: Any, **options: Any) -> None:
        if minutes is not None and minutes >= 0:
            minutes = min(minutes, max(1, minutes_at(time.time(), deadline=deadline.at, heartbeat=heartbeat)))
        original(backend, handle, minutes, *arguments, **options)

    set_autostop.original = original  # type: ignore[attr-defined]
    backends.CloudVmRayBackend.set_autostop = set_autostop


def _why_no_access(task: Any) -> str:
    """Return why no cloud is enabled. SkyPilot gives no reason; each cloud's own check names the missing parts."""
    clouds_requested = {
        str(resource.cloud): resource.cloud for resource in task.resources if resource.cloud is not None
    }
    reasons = []
    for name, cloud in clouds_requested.items():
        allowed, reason = cloud.check_credentials(clouds.CloudCapability.COMPUTE)
        reasons.append(f"{name.lower()}: {'enabled' if allowed else reason}")
    return "; ".join(reasons) or "no cloud is set up"
