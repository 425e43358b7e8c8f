"""Stream the end of a job's log from a live machine. This module is loaded in the worker process only."""

from __future__ import annotations

from typing import Any

from sky import exceptions, global_user_state
from sky.backends import backend_utils

from cvl_ci.engine.job_log import LOST, NO_JOB, READ

_STATES = {
    int(exceptions.JobExitCode.SUCCEEDED): READ,
    int(exceptions.JobExitCode.FAILED): READ,
    int(exceptions.JobExitCode.CANCELLED): READ,
    int(exceptions.JobExitCode.NOT_FINISHED): READ,
    int(exceptions.JobExitCode.NOT_FOUND): NO_JOB,
}
"""Answers of the machine. Another code is that of ssh, which reached no machine, or lost it."""


def tail_log(_send: Any, *, cluster: str, count: int, is_following: bool) -> str:
    """Print the last lines of the latest job's log, and return READ, NO_JOB or LOST. It changes nothing there."""
    handle = global_user_state.get_handle_from_cluster_name(cluster)
    if handle is None:
        raise exceptions.ClusterDoesNotExist(f"{cluster} is not in SkyPilot's records.")
    _leave_no_master(handle)
    backend = backend_utils.get_backend_from_handle(handle)
    code = backend.tail_logs(handle, None, follow=is_following, tail=count)
    return _STATES.get(int(code), LOST)


def _leave_no_master(handle: Any) -> None:
    """Let each connection through this handle end with its command.

    SkyPilot's ssh leaves a process of its own session, which keeps the connection for 300 s. One call needs none.
    """
    original = handle.get_command_runners

    def get_command_runners(*arguments: Any, **options: Any) -> list[Any]:
        runners = list(original(*arguments, **options))
        for runner in runners:
            runner.disable_control_master = True
        return runners

    handle.get_command_runners = get_command_runners
