"""Implement the Machines port with a managed job: the server's controller launches the machine and ends it."""

from __future__ import annotations

from cvl_ci.engine.server.controlled_machines import ControlledMachines
from cvl_ci.engine.task import script, task
from cvl_ci.ports import LaunchRequest

VARIABLE = "CVL_CI_MANAGED_JOBS"
"""The variable that makes a worker (worker.py) speak of managed jobs."""


class ManagedMachines(ControlledMachines):
    """The machines of one managed job, which has the name of its lease."""

    def recovery_count(self, cluster: str) -> int | None:
        """Return how often the controller recovered the job; None: it has no count of exactly one job."""
        counts = [job["count"] for job in self._server_list("recoveries", cluster)]
        return counts[0] if len(counts) == 1 and isinstance(counts[0], int) else None

    def _task(self, request: LaunchRequest) -> dict[str, object]:
        """Return the task. Its setup is a part of the job, so that the log and the end of both are stored.

        The deadline is one moment for all machines that the controller launches one after the other.
        """
        plan, lease = request.plan, request.cluster
        return task.task_config(
            plan,
            name=lease,
            workdir=str(request.staged),
            labels=request.labels,
            autodown_minutes=None,
            env=script.environment(plan, lease=lease, deadline=request.deadline, staged=request.staged),
            setup=None,
            run=script.run(plan, lease=lease, with_setup=True),
            lease=lease,
            offers=request.offers,
        )
