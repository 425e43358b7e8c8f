"""Implement the Machines port with a managed job: the server's controller launches the machine and ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cvl_ci.engine import script, task
from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.model.launch import Launch
from cvl_ci.ports import LaunchRequest, Watch

VARIABLE = "CVL_CI_MANAGED_JOBS"
"""The variable that makes a worker (worker.py) speak of managed jobs."""


class ManagedMachines(SkyPilotMachines):
    """The machines of one managed job, which has the name of its lease."""

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        """Give the server the job. The returned machines are the most expensive that its controller may take."""
        launch = super().launch(request, watch=watch)
        self._session.is_attached = False
        dearest = max(request.offers, key=lambda offer: offer.hourly_usd, default=None)
        if dearest is None:
            return launch
        return replace(
            launch,
            region=launch.region or dearest.region,
            instance_type=dearest.instance_type,
            hourly_usd=dearest.hourly_usd,
            spot=dearest.spot,
        )

    def keep(self, cluster: str, *, until: float, public_key: str | None, heartbeat: float = 0.0) -> Sequence[str]:
        """Return no way in. The deadline in the job's environment ends it on each of its machines."""
        return ()

    def jobs_on_server(self, cluster: str | None) -> list[Mapping[str, Any]]:
        """Return all that the server has of a lease, or of all leases: jobs not proved over, and requests for one."""
        return self._server_list("exists", cluster)

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
