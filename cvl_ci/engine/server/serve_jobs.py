"""Implement the Jobs and MachineLog ports for a service of several replicas: what its controller shows of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cvl_ci.engine.jobs import SkyPilotJobs
from cvl_ci.engine.server.serve_machines import ReplicaMachines
from cvl_ci.engine.session import Session
from cvl_ci.errors import EngineError, InputProblem, RequestError
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.ports import JobEnd, Line, Progress, Watch

PAUSE_SECONDS = 2.0
SHOWN_LINES = 40
READY = "READY"
_FAILED = {"FAILED", "FAILED_INITIAL_DELAY", "FAILED_PROBING", "FAILED_PROVISION"}
"""The ends of a replica that never answered (sky/serve/serve_state.py, ReplicaStatus). No more follow it then."""
_OVER = {*_FAILED, "FAILED_CLEANUP", "SHUTTING_DOWN", "PREEMPTED", "UNKNOWN"}
_CODES = re.compile(r"failed with return code list: \[(\d+)")
"""SkyPilot's own line about the end of a job (sky/backends/task_codegen.py)."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ReplicaJobs(SkyPilotJobs):
    """The server on the replicas of one service. Nothing streams it: the controller stores the logs."""

    def __init__(self, session: Session, machines: ReplicaMachines) -> None:
        super().__init__(session)
        self._machines = machines
        self._shown = ""

    def follow_until(self, *, watch: Watch, until: float, enough: Callable[[], bool]) -> JobEnd | None:
        """Wait until the least number of new replicas is ready, and `enough` holds.

        When the time is over, one ready replica is sufficient. The end of a replica that never answered ends it all.
        """
        session = self._session
        lease, clock = session.machines.request.cluster, session.clock
        count = _least(session)
        while True:
            service = self._machines.look(lease)
            newest = [one for one in service["replicas"] if one["version"] == service["version"]]
            self._show(service, watch)
            ready = sum(one["state"] == READY for one in newest)
            failed = [one for one in newest if one["state"] in _FAILED]
            if ready >= count and enough():
                return None
            if failed and not ready:
                return self._end(lease, failed, watch, timed_out=False)
            if clock.now() >= until:
                if ready and enough():
                    watch(Progress(text=f"{ready} of {count} replicas are ready, and the time for the others is over"))
                    return None
                return self._end(lease, newest, watch, timed_out=True)
            clock.sleep(PAUSE_SECONDS)

    def _show(self, service: Mapping[str, Any], watch: Watch) -> None:
        text = states(service)
        if text != self._shown:
            self._shown = text
            watch(Progress(text=f"replicas: {text}"))

    def _end(self, lease: str, replicas: Sequence[Mapping[str, Any]], watch: Watch, *, timed_out: bool) -> JobEnd:
        """Show the last lines of one replica, and return its end."""
        code: int | None = None
        for one in replicas[:1]:
            watch(Line(text=f"cvl-ci: replica {one['id']} is {one['state']}; its last lines:"))
            for text in self._log(lease, one["id"]):
                watch(Line(text=text))
                if match := _CODES.search(text):
                    code = int(match[1])
        if any(one["state"] == "FAILED_PROVISION" for one in replicas):
            raise EngineError(
                "SkyPilot could not launch a replica. Its last lines are above.",
                money="cvl-ci ends the service, with all its machines.",
                next_step="Try another region, machine or GPU.",
            )
        is_late = timed_out or any(one["state"] == "FAILED_INITIAL_DELAY" for one in replicas)
        return JobEnd(nodes=(NodeEnd(rank=0, exit_code=code if not is_late else None, timed_out=is_late),))

    def _log(self, lease: str, replica: int) -> list[str]:
        try:
            lines = self._machines.log_of(lease, replica=replica, count=SHOWN_LINES)
        except EngineError as error:
            return [f"cvl-ci: its log could not be read: {error.what}"]
        return [_COLOUR.sub("", text) for text in lines]


class ReplicaLog:
    """The logs of a service's replicas, as its controller has them."""

    def __init__(self, machines: ReplicaMachines) -> None:
        self._machines = machines

    def state(self, cluster: str) -> str:
        return states(self._machines.look(cluster))

    def show(self, cluster: str, *, count: int, is_following: bool, line: Callable[[str], None]) -> None:
        if is_following:
            problem = "does not work for several replicas: run it again without --follow for the newest lines"
            raise RequestError([InputProblem(field="--follow", value="true", problem=problem)])
        replicas = [one for one in self._machines.look(cluster)["replicas"] if one["state"] not in _OVER]
        if not replicas:
            look = f"Look at its state: cvl-ci deploy --status {cluster}"
            raise EngineError(f"{cluster} has no replica with a log now.", next_step=look)
        for one in replicas:
            line(f"replica {one['id']} ({one['state'].lower()}):")
            for text in self._machines.log_of(cluster, replica=one["id"], count=max(1, count // len(replicas))):
                line(_COLOUR.sub("", text))


def states(service: Mapping[str, Any]) -> str:
    """Return the replicas in words, such as `2 READY, 1 PROVISIONING (old version)`."""
    newest = service["version"]
    words = [f"{one['state']}{'' if one['version'] == newest else ' (old version)'}" for one in service["replicas"]]
    return ", ".join(f"{number} {word}" for word, number in sorted(Counter(words).items())) or "none yet"


def _least(session: Session) -> int:
    service = session.job_plan.service
    return max(1, service.replicas.least) if service is not None and service.replicas is not None else 1
