"""The state of one lease's machines on this computer: the worker process, the launch, and its latest job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cvl_ci.engine.fetch.fetched_archives import Brought
from cvl_ci.engine.fetch.runner_checkpoints import RunnerCheckpoints
from cvl_ci.engine.process import Worker
from cvl_ci.errors import EngineError
from cvl_ci.model.checkpoint_plan import Resume
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports import Clock, LaunchRequest

BEAT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class LaunchedMachines:
    """The machines of the latest launch. `request`: the launch's own, with the deadline that the machines got."""

    request: LaunchRequest
    num_nodes: int
    spot: bool


class Session:
    """One worker process at a time, for one lease. cvl-ci owns the process and can end it.

    `cloud_name`: a person's name for a cloud that SkyPilot calls otherwise (the sandbox).
    """

    def __init__(self, *, environment: Mapping[str, str], clock: Clock, cloud_name: str | None = None) -> None:
        self.environment = environment
        self.clock = clock
        self.cloud_name = cloud_name
        self._worker: Worker | None = None
        self._is_launching = False
        self._machines: LaunchedMachines | None = None
        self.is_attached = False
        """Whether this process renews its machines: from the launch until they are taken down."""
        self.job_id: int | None = None
        self.plan: RunPlan | None = None
        """The plan of the latest job."""
        self.archives: Brought | None = None
        """The files of the latest job, still packed."""
        self.checkpoints: RunnerCheckpoints | None = None
        """The copy of the run's checkpoints on this computer, if they have no other place."""
        self._jobs = 0
        self.shares_work = True
        """Whether a further job goes on in the working folder of the jobs before."""
        self._is_cut_off = False

    @property
    def machines(self) -> LaunchedMachines:
        if self._machines is None:
            raise EngineError("Nothing has been launched yet.")
        return self._machines

    @property
    def folder(self) -> str:
        """Return the name of the latest job's folder on its machines, `~/.cvl-ci/NAME`."""
        lease = self.machines.request.cluster
        return lease if self._jobs < 2 else f"{lease}.{self._jobs}"

    @property
    def next_folder(self) -> str:
        return f"{self.machines.request.cluster}.{self._jobs + 1}"

    @property
    def job_plan(self) -> RunPlan:
        if self.plan is None:
            raise EngineError("Nothing has been launched yet.")
        return self.plan

    def begin_launch(self) -> None:
        self._is_launching, self._is_cut_off, self.is_attached = True, False, False
        self._machines, self.job_id, self._jobs, self.shares_work = None, None, 0, True

    def note_launch(self, machines: LaunchedMachines, *, job_id: int, plan: RunPlan) -> None:
        self._is_launching, self._machines, self.is_attached = False, machines, True
        self.note_job(job_id, plan=plan)

    def note_entry(self, machines: LaunchedMachines) -> None:
        """Take over machines whose earlier jobs have left nothing: the next one shares no folder with them."""
        self._is_launching, self._is_cut_off, self.is_attached = False, False, True
        self._machines, self.job_id, self._jobs, self.shares_work = machines, None, 1, False

    def note_job(self, job_id: int, *, plan: RunPlan) -> None:
        self.job_id, self.plan, self._jobs = job_id, plan, self._jobs + 1

    def worker(self) -> Worker:
        """Return a live worker. A new one goes on to renew the machines."""
        if self._worker is None or not self._worker.alive:
            self._worker = Worker(environment=self.environment)
            if self.is_attached:
                request = self.machines.request
                self.call(
                    "beat",
                    deadline=request.deadline,
                    heartbeat=request.plan.limits.heartbeat_minutes,
                    until=within(BEAT_SECONDS),
                )
        return self._worker

    def call(self, verb: str, **request: Any) -> Any:
        """Return the worker's answer about the latest launch."""
        return self.worker().call(verb, cluster=self.machines.request.cluster, **request)

    def stop(self) -> bool:
        """Stop the current request, and return whether a launch was cut off.

        Nothing half-done stays alive. An interrupted SkyPilot may leave threads behind, so its process ends too.
        """
        worker = self._worker
        if worker is not None and worker.busy:
            worker.abort()
            worker.kill()
            self._is_cut_off = self._is_cut_off or self._is_launching
        elif worker is not None and not worker.alive:
            # The worker died by itself, and its last act may have been a request for a machine.
            self._is_cut_off = self._is_cut_off or self._is_launching
        return self._is_cut_off

    def copied_checkpoints(self) -> RunnerCheckpoints | None:
        """Return the copy of checkpoints for the latest job; None: its checkpoints have another place, or none."""
        if self.checkpoints is None and self.job_plan.checkpoints.on_runner:
            self.checkpoints = RunnerCheckpoints()
        return self.checkpoints

    def restored_files(self, plan: RunPlan, *, cluster: str) -> dict[str, str]:
        """Return the folders of checkpoints that new machines get, by their place there."""
        is_wanted = self.checkpoints is not None and plan.checkpoints.resume is not Resume.NONE
        return self.checkpoints.files_for(cluster) if self.checkpoints is not None and is_wanted else {}

    def drop_archives(self) -> None:
        archives, self.archives = self.archives, None
        if archives is not None:
            archives.drop()

    def close(self) -> None:
        self.drop_archives()
        if self._worker is not None:
            self._worker.close()
        if self.checkpoints is not None:
            self.checkpoints.drop()
            self.checkpoints = None


def within(seconds: float) -> Callable[[], float]:
    """Return the moment so many seconds from now, as the worker's calls take it."""
    end = time.monotonic() + seconds
    return lambda: end
