"""Call a SkyPilot API server about managed jobs, with the verbs of sky_server.py. A job has the name of its lease.

The server's controller launches the cluster `NAME-ID` of a job, launches it again after a loss, and ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sky import exceptions
from sky.client import sdk
from sky.jobs.client import sdk as jobs_sdk

from cvl_ci.backoff import Pace
from cvl_ci.engine.worker import controller_answers, server_records, sky_server
from cvl_ci.engine.worker.sky_server import warm

__all__ = ["down", "exists", "launch", "recorded", "recoveries", "warm"]

Send = Callable[..., None]
FIELDS = (
    *("job_id", "task_id", "job_name", "status", "schedule_state", "failure_reason", "recovery_count"),
    *("cloud", "region", "zone", "labels", "submitted_at"),
)
OVER, NOT_CLEAN = "DONE", "FAILED_CONTROLLER"
"""The state after the controller has taken the cluster down, and the status where it could not, or died.

sky/jobs/controller.py, `run_job_loop`: `_cleanup` comes before `job_done_async`, and sets this status if it fails.
"""
DAYS = 31
"""The longest life of a managed run, in whole days: 30 days are the longest max_runtime (inputs/parsers.py)."""
CANCEL = Pace(every_seconds=3.0, within_seconds=100.0)
_requests = partial(controller_answers.requests, verbs=("jobs.launch",), field="name")


def launch(send: Send, *, task: dict[str, Any], cluster: str, fence: str, deadline: float, **_: Any) -> dict[str, Any]:
    """Give the server the job, and return once it has an id. The machine is launched later, by the controller."""
    task_object, attempt = sky_server.announce(send, task, cluster=cluster, fence=fence)
    job_ids, _handle = sdk.stream_and_get(jobs_sdk.launch(task_object, name=cluster, job_group=None))
    if not isinstance(job_ids, list) or len(job_ids) != 1:
        raise RuntimeError("The API server named no managed job.")
    sky_server.stop_at(fence)
    return {**attempt, "job_id": int(job_ids[0]), "accelerators": {}, "num_nodes": 1, "deadline": deadline}


def exists(_send: Send, *, cluster: str | None) -> list[dict[str, Any]]:
    """Return the jobs that are not proved over, clusters that the server has not ended, and requests under way.

    `cluster`: the name of a lease; None: the jobs of all leases that the server shows.
    """
    # The requests first: a job that comes into being between the two questions is in one of the answers.
    requests = _requests(cluster)
    return [*requests, *(_values(job) for job in _jobs(cluster) if not _is_over(job))]


def recorded(_send: Send, *, cluster: str) -> list[dict[str, Any]]:
    """Return the machines of the job that the server recorded, one for each launch of its controller."""
    records: list[dict[str, Any]] = []
    for job in _jobs(cluster):
        records += server_records.recorded(_cluster(job), sky_server.described, days=DAYS)
    return records


def recoveries(_send: Send, *, cluster: str) -> list[dict[str, Any]]:
    """Return how often the controller recovered each job of this name. A retry of a launch is not a recovery."""
    return [{"count": job.recovery_count} for job in _jobs(cluster)]


def down(_send: Send, *, cluster: str) -> bool:
    """Cancel the job, and wait until the controller has taken its machine down. Return False without a job.

    A request for a job under way is cancelled first: it would make a job after this one is cancelled.
    """
    if requests := [one["id"] for one in _requests(cluster) if one["is_certain"]]:
        sdk.get(sdk.api_cancel(requests, silent=True))
    living = [job for job in _jobs(cluster) if not _is_over(job)]
    if ids := [int(job.job_id) for job in living if not job.status.is_terminal()]:
        sdk.get(jobs_sdk.cancel(job_ids=ids))
    for _ in CANCEL.ticks():
        if all(job.status.value == NOT_CLEAN for job in living):
            break
        living = [job for job in _jobs(cluster) if not _is_over(job)]
    for job in living:
        if job.status.value == NOT_CLEAN and None in server_records.ends(_cluster(job), days=DAYS):
            sdk.get(sdk.down(_cluster(job)))
    return bool(ids)


def _jobs(name: str | None) -> list[Any]:
    """Return the server's jobs of this name, of all users. A server without a controller has never had a job.

    With a name, a controller that rests is started again: only its own answer is a proof.
    """
    try:
        request = jobs_sdk.queue_v2(
            refresh=name is not None, all_users=True, fields=FIELDS, **({"name_match": name} if name else {})
        )
        answer = sdk.get(request)
    except exceptions.ClusterNotUpError as error:
        if not controller_answers.is_without_work(error, name=name):
            raise
        return []
    if not isinstance(answer, (tuple, list)) or not answer or not isinstance(answer[0], list):
        raise TypeError(f"the API server's answer about managed jobs is a {type(answer).__name__} and not a list")
    return [job for job in answer[0] if name is None or job.job_name == name]


def _is_over(job: Any) -> bool:
    """Return whether the job is over and its cluster is gone, by the controller's word. No absent word counts.

    Where the controller could not clean up, only the server's own records of the cluster are a proof.
    """
    if job.status is None or not job.status.is_terminal() or job.schedule_state != OVER:
        return False
    ends = server_records.ends(_cluster(job), days=DAYS)
    return None not in ends and (job.status.value != NOT_CLEAN or bool(ends))


def _values(job: Any) -> dict[str, Any]:
    state = job.status.value.lower() if job.status is not None else "unknown"
    labels = controller_answers.lease_labels(job.labels or {})
    return {"kind": "managed job", "id": str(job.job_id), "name": job.job_name, "state": state, "labels": labels}


def _cluster(job: Any) -> str:
    """Return the name of its cluster: sky/jobs/utils.py, `generate_managed_job_cluster_name`, for a short name."""
    return f"{job.job_name}-{job.job_id}"
