"""Implement the Machines port with a service of several replicas: the server's controller launches and ends them."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cvl_ci.engine import sky_errors
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.server.controlled_machines import ControlledMachines
from cvl_ci.engine.session import within
from cvl_ci.engine.task import script, task
from cvl_ci.errors import EngineError
from cvl_ci.model.launch import Launch
from cvl_ci.planning import replicas
from cvl_ci.ports import LaunchRequest, Watch

VARIABLE = "CVL_CI_REPLICAS"
"""The variable that makes a worker (worker.py) speak of services with several replicas."""
LOOK_SECONDS = 180.0
"""The longest time of a server's answer about a service. Its controller asks each replica for its address."""


class ReplicaMachines(ControlledMachines):
    """The machines of one service, which has the name of its lease."""

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        """Give the server the service, or its next version. The returned machines are those of all replicas."""
        return replace(super().launch(request, watch=watch), num_nodes=request.plan.machines.num_nodes)

    def address(self) -> str:
        """Return IPv4 address and port of the load balancer, which the server's controller runs."""
        host, _, port = str(self.look(self._launch_request().cluster)["endpoint"]).rpartition(":")
        if not host:
            raise EngineError("The API server named no address of the service.")
        try:
            return f"{socket.gethostbyname(host)}:{port}"
        except OSError as error:
            raise EngineError(f"This computer finds no address of {host}: {error}.") from error

    def look(self, cluster: str) -> Mapping[str, Any]:
        """Return the service as its controller shows it: its state, its address and its replicas."""
        answer = self._answer("look", cluster=cluster)
        if not isinstance(answer, dict):
            raise EngineError("The API server's answer about the service was of another kind.")
        return answer

    def log_of(self, cluster: str, *, replica: int, count: int) -> list[str]:
        """Return the last lines of a replica's log."""
        return [str(line) for line in self._answer("replica_log", cluster=cluster, replica=replica, count=count)]

    def _answer(self, verb: str, **words: Any) -> Any:
        try:
            return self._session.worker().call(verb, until=within(LOOK_SECONDS), **words)
        except Expired:
            self.stop()
            raise EngineError(f"The API server did not answer within {LOOK_SECONDS:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure

    def _task(self, request: LaunchRequest) -> dict[str, object]:
        """Return the task of each replica. Its setup is a part of the job, behind the check of the deadline.

        The deadline is one moment for all of them. SkyPilot's own timer counts from each launch, as a second line.
        """
        plan, lease = replicas.of_one_replica(request.plan), request.cluster
        if plan.service is None:
            raise EngineError("There is no service to start.")
        remaining = (request.deadline - self._session.clock.now()) / 60
        config = task.task_config(
            plan,
            name=lease,
            workdir=str(request.staged),
            labels=request.labels,
            autodown_minutes=max(1, math.ceil(remaining)),
            env=script.environment(plan, lease=lease, deadline=request.deadline, staged=request.staged),
            setup=None,
            run=script.run(plan, lease=lease, with_setup=True),
            lease=lease,
            offers=request.offers,
        )
        resources = config["resources"]
        ports = {"ports": plan.service.public_port}
        return {
            **config,
            "service": replicas.started_section(plan.service),
            "resources": {**resources, **ports} if isinstance(resources, Mapping) else ports,
        }
