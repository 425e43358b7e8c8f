"""Implement the Engine port with SkyPilot: launch, stream, fetch and down, through a worker process.

cvl-ci owns the worker and can end it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvl_ci.engine import script, sky_errors, task, transfer
from cvl_ci.engine.deadline import Deadline
from cvl_ci.engine.fetched_archives import Brought
from cvl_ci.engine.job_end import ANSWER_SECONDS, Ending
from cvl_ci.engine.log_follower import Following
from cvl_ci.engine.process import Expired, Worker, WorkerFailed
from cvl_ci.errors import BudgetError, EngineError
from cvl_ci.model.budget import Budget
from cvl_ci.model.outcome import Attempt, Launch
from cvl_ci.model.plan import RELEASE_MINUTES, RunPlan
from cvl_ci.ports import AttemptFailed, Attempting, Clock, Fetched, JobEnd, LaunchRequest, Progress, Watch

DOWN_SECONDS = 120.0
KEEP_SECONDS = 60.0
OVERTIME_SECONDS = 90.0
"""The machine ends a job at its limit. If the job still runs after this many more seconds, the runner ends it."""
FETCH_SECONDS = 30.0
"""Fetching has at least this long, and leaves the same time before the deadline."""


class SkyPilotEngine:
    """Engine of one run. `cloud_name`: a person's name for a cloud that SkyPilot calls otherwise (the sandbox)."""

    def __init__(self, *, environment: Mapping[str, str], clock: Clock, cloud_name: str | None = None) -> None:
        self._environment = environment
        self._clock = clock
        self._cloud_name = cloud_name
        self._worker: Worker | None = None
        self._request: LaunchRequest | None = None
        self._job_id: int | None = None
        self._cut_off = False
        self._attached = False
        """Whether this engine renews its machine: from the launch until the machine is taken down."""
        self._num_nodes = 1
        self._brought: Brought | None = None
        self._created_at: float | None = None
        self._attempt: Attempt | None = None
        self._refusals: list[str] = []
        """The providers' answers to the attempts that failed."""
        self._patience = 0.0
        """The monotonic moment of the last attempt. Each place gets the full time."""
        self._end = Deadline(math.inf)
        self._paid_until = math.inf
        """The monotonic moment at which an unfinished launch has used up the money for a job."""

    # ---- the port -------------------------------------------------------------------------------------------

    def render(self, plan: RunPlan) -> str:
        return task.render(plan)

    def warm(self) -> None:
        self._alive_worker()

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        self._request = request
        allowed = request.plan.limits.provisioning_minutes * 60
        self._patience = time.monotonic()
        self._paid_until = self._moment(request.deadline - RELEASE_MINUTES * 60)
        self._end = self._deadline(request)
        try:
            answer = self._alive_worker().call(
                "launch",
                on_line=sky_errors.Said(watch),
                on_event=lambda event: self._provisioning(event, watch),
                until=lambda: -math.inf if request.fence.exists() else min(self._patience + allowed, self._paid_until),
                task=self._task(request),
                cluster=request.cluster,
                fence=str(request.fence),
                deadline=request.deadline,
                money=self._end.money,
                heartbeat=request.plan.limits.heartbeat_minutes,
            )
        except Expired:
            self.stop()
            if request.fence.exists():
                raise sky_errors.ended_elsewhere() from None
            if time.monotonic() < self._patience + allowed:
                raise BudgetError(
                    "max_cost was used up, except the share for the release, before a machine was ready for the job.",
                    money="cvl-ci takes down all that exists. Its cost until now is in the summary.",
                    next_step="Raise `max_cost`, or choose places that have such machines.",
                ) from None
            raise EngineError(
                f"The machine was not ready {allowed / 60:.3g} minutes after its request: it never answered by "
                "ssh, or SkyPilot could not set it up.",
                money="cvl-ci takes it down. Its cost until now is in the summary.",
                next_step="Run it again. If it fails again, try another region or instance type.",
            ) from None
        except WorkerFailed as failure:
            was_requested = self._attempt is not None
            raise sky_errors.in_our_words(failure, refusals=self._refusals, was_requested=was_requested) from failure
        self._job_id = answer["job_id"]
        self._request = replace(request, deadline=answer["deadline"])
        self._attached = True
        self._num_nodes = answer["num_nodes"]
        return self._launched(request, answer)

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        worker, request = self._alive_worker(), self._launch_request()
        stream = Following(watch, num_nodes=self._num_nodes)
        ending = Ending(
            worker=self._alive_worker,
            stop=self.stop,
            cluster=request.cluster,
            job_id=self._job_id,
            num_nodes=self._num_nodes,
            stream=stream,
        )
        latest = time.monotonic() + max(0.0, until - self._clock.now())
        allowed = request.plan.limits.max_runtime_minutes * 60 + OVERTIME_SECONDS
        try:
            worker.call(
                "follow",
                on_line=stream.line,
                on_rest=stream.rest,
                on_event=stream.event,
                until=lambda: -math.inf if stream.lost else min(latest, (stream.began or math.inf) + allowed),
                cluster=request.cluster,
                job_id=self._job_id,
            )
        except Expired:
            if stream.lost:
                self.stop()
                return JobEnd(lost=stream.lost)
            return ending.cut_short()
        except WorkerFailed as failure:
            return JobEnd(lost=f"SkyPilot lost the machine: {failure.error}: {failure.text}")
        return ending.by_itself()

    def fetch(self, *, globs: Sequence[str], within: float = math.inf) -> None:
        request = self._launch_request()
        lease = request.cluster
        self._brought = brought = Brought(globs=tuple(globs), directory=request.plan.work.directory)
        command = script.collect(lease=lease, directory=request.plan.work.directory, globs=brought.globs)
        seconds_left = min(within, max(FETCH_SECONDS, request.deadline - self._clock.now() - FETCH_SECONDS))
        end = time.monotonic() + seconds_left
        patience = transfer.packing(brought.path, end=end)
        try:
            worker = self._alive_worker()
            packed = worker.call("ask_nodes", cluster=lease, command=command, until=lambda: patience.until)
            archives = transfer.archives_to_fetch(packed, room=transfer.room(brought.path))
            brought.problems += archives.problems
            patience = transfer.Patience(archives=brought.path, until=end, most=archives.bytes + transfer.SLACK_BYTES)
            remote = f"~/.cvl-ci/{lease}/fetch"
            brought.problems += worker.call(
                "bring", cluster=lease, remote=remote, wanted=archives.nodes, into=str(brought.path), until=patience
            )
        except Expired:
            self.stop()
            brought.problems.append(f"Not all outputs were fetched: {patience.why}.")
        except WorkerFailed as failure:
            brought.problems.append(f"Not all outputs could be fetched: {failure.error}: {failure.text}"[:500])

    def unpack(self, *, into: Path, within: float = math.inf) -> Fetched:
        brought, self._brought = self._brought, None
        return brought.unpacked(into, environment=self._environment, within=within) if brought else Fetched()

    def keep(self, cluster: str, *, until: float, public_key: str | None) -> Sequence[str]:
        self._attached = False
        try:
            ways_in = self._alive_worker().call(
                "keep", until=_within(KEEP_SECONDS), cluster=cluster, deadline=until, public_key=public_key
            )
        except Expired:
            self.stop()
            raise EngineError(f"The machine did not take its new end within {KEEP_SECONDS:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.in_our_words(failure) from failure
        return tuple(map(str, ways_in))

    def stop(self) -> bool:
        """Stop the current request.

        Nothing half-done stays alive. An interrupted SkyPilot may leave threads behind, so its process ends too. Return
        whether a launch was cut off.
        """
        if self._worker is not None and self._worker.busy:
            self._cut_off = self._cut_off or self._job_id is None
            self._worker.abort()
            self._worker.kill()
        elif self._worker is not None and not self._worker.alive and self._request and self._job_id is None:
            self._cut_off = True  # the worker died by itself, and its last act may have been a request for a machine
        return self._cut_off

    def down(self, cluster: str) -> None:
        self._attached = False
        try:
            self._alive_worker().call("down", cluster=cluster, until=_within(DOWN_SECONDS))
        except Expired:
            self.stop()
            raise EngineError(
                f"SkyPilot did not take {cluster} down within {DOWN_SECONDS:.0f} s.",
                money="cvl-ci asks the provider directly instead.",
            ) from None
        except WorkerFailed as failure:
            raise sky_errors.in_our_words(failure) from failure

    def on_server(self, cluster: str) -> list[tuple[str, str, str]]:
        """Return kind, id and state of all that an API server has of a cluster, after it has asked the cloud again."""
        try:
            resources = self._alive_worker().call("exists", cluster=cluster, until=_within(DOWN_SECONDS))
        except Expired:
            self.stop()
            raise EngineError(f"It did not answer within {DOWN_SECONDS:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.in_our_words(failure) from failure
        if not isinstance(resources, list):
            raise EngineError("Its answer was not a list of clusters.")
        return [(str(resource["kind"]), str(resource["id"]), str(resource["state"])) for resource in resources]

    def close(self) -> None:
        if self._brought is not None:
            self._brought.drop()
        if self._worker is not None:
            self._worker.close()

    # ---- below ----------------------------------------------------------------------------------------------

    def _alive_worker(self) -> Worker:
        if self._worker is None or not self._worker.alive:
            self._worker = Worker(environment=self._environment)
            if self._attached and self._request is not None:
                self._worker.call(
                    "beat",
                    cluster=self._request.cluster,
                    deadline=self._request.deadline,
                    heartbeat=self._request.plan.limits.heartbeat_minutes,
                    until=_within(ANSWER_SECONDS),
                )
        return self._worker

    def _launch_request(self) -> LaunchRequest:
        if self._request is None:
            raise EngineError("Nothing has been launched yet.")
        return self._request

    def _task(self, request: LaunchRequest) -> dict[str, object]:
        plan = request.plan
        remaining = (request.deadline - self._clock.now()) / 60
        return task.task_config(
            plan,
            name=request.cluster,
            workdir=str(request.staged),
            labels=request.labels,
            autodown_minutes=max(1, math.ceil(remaining)),
            env=script.environment(plan, lease=request.cluster, deadline=request.deadline),
            setup=script.setup(plan),
            run=script.run(plan, lease=request.cluster),
        )

    def _provisioning(self, event: Mapping[str, Any], watch: Watch) -> None:
        if event["kind"] == "attempting":
            self._created_at, self._patience = self._clock.now(), time.monotonic()
            self._attempt = self._named_attempt(event["attempt"], error=None)
            self._end.priced(self._attempt.hourly_usd, cloud=event["attempt"]["cloud"])
            self._paid_until = self._moment(self._end.at - RELEASE_MINUTES * 60)
            watch(Attempting(attempt=self._attempt))
        elif event["kind"] == "attempt_failed":
            self._refusals.append(event["text"])
            machines = int(event.get("machines", 0))
            self._end.failed(machines)
            attempt = self._named_attempt(event["attempt"], error=event["text"])
            watch(AttemptFailed(attempt=replace(attempt, machines=machines)))
        elif event["kind"] == "too_dear":
            self._refusals.append(event["text"])
            place = self._named_attempt(event["attempt"], error=event["text"])
            watch(Progress(text=f"{place.where} is left out: {event['text']}"))

    def _deadline(self, request: LaunchRequest) -> Deadline:
        plan = request.plan
        return Deadline(
            request.deadline,
            budget=Budget(max_usd=plan.limits.max_cost_usd, spent_usd=request.spent_usd),
            nodes=plan.machines.num_nodes,
            disk_gb=plan.machines.needs.largest_disk_gb,
            now=self._clock.now,
        )

    def _moment(self, epoch: float) -> float:
        """Convert to the monotonic clock, which no program can set."""
        return time.monotonic() + epoch - self._clock.now()

    def _named_attempt(self, values: Mapping[str, Any], *, error: str | None) -> Attempt:
        likely = self._launch_request().likely
        return Attempt(
            cloud=self._cloud_name or values["cloud"],
            region=values["region"],
            zone=values["zone"],
            instance_type=values["instance_type"] or (likely.instance_type if likely else ""),
            spot=values["spot"],
            hourly_usd=self._priced(values),
            error=error,
        )

    def _priced(self, values: Mapping[str, Any]) -> float:
        """Return the price.

        An API server announces neither the machine nor its price. The quoted price then counts.
        """
        if values["hourly_usd"] is not None:
            return float(values["hourly_usd"])
        likely = self._launch_request().likely
        return likely.hourly_usd if likely else 0.0

    def _launched(self, request: LaunchRequest, answer: Mapping[str, Any]) -> Launch:
        return Launch(
            cluster=request.cluster,
            cloud=self._cloud_name or answer["cloud"],
            region=answer["region"],
            zone=answer["zone"] or (self._attempt.zone if self._attempt else None),
            instance_type=answer["instance_type"],
            accelerators=answer["accelerators"],
            spot=answer["spot"],
            num_nodes=answer["num_nodes"],
            hourly_usd=self._priced(answer),
            created_at=self._created_at if self._created_at is not None else self._clock.now(),
        )


def _within(seconds: float) -> Callable[[], float]:
    limit = time.monotonic() + seconds
    return lambda: limit
