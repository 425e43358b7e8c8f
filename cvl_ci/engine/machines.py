"""Implement the Machines port with SkyPilot: launch, keep and take down, through a worker process."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cvl_ci.engine import quoted_prices, sharing, sky_errors, storage_refusals
from cvl_ci.engine.deadline import Deadline
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.server.server_attempts import ServerAttempts, most_usd
from cvl_ci.engine.session import LaunchedMachines, Session, within
from cvl_ci.engine.task import script, task, volumes
from cvl_ci.engine.worker import open_port
from cvl_ci.errors import BudgetError, CvlError, EngineError
from cvl_ci.model.budget import Budget
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.storage import Bucket
from cvl_ci.ports import AttemptFailed, Attempting, LaunchRequest, MakingBucket, Progress, Watch

DOWN_SECONDS, CLEAN_SECONDS, KEEP_SECONDS = 120.0, 120.0, 60.0


class SkyPilotMachines:
    """The machines of one lease."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._request: LaunchRequest | None = None
        self._created_at: float | None = None
        self._attempt: Attempt | None = None
        self._on_server: ServerAttempts | None = None
        self._refusals: list[str] = []
        """The providers' answers to the attempts that failed."""
        self._is_lost = False
        """Whether the provider no longer shows all machines of the launch under way."""
        self._patience = 0.0
        """The monotonic moment of the last attempt. Each place gets the full time."""
        self._end = Deadline(math.inf)
        self._paid_until = math.inf
        """The monotonic moment at which an unfinished launch has used up the money for a job."""

    def warm(self) -> None:
        self._session.worker()

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        self._session.begin_launch()
        self._request, self._created_at, self._attempt, self._refusals = request, None, None, []
        self._on_server, self._is_lost = None, False
        progress = sky_errors.ProgressFilter(watch)

        def hear(line: str) -> None:
            progress(line)
            if self._on_server is not None:
                self._on_server.hear(line)

        allowed = request.plan.limits.provisioning_minutes * 60
        self._patience = time.monotonic()
        self._paid_until = self._moment(request.deadline - RELEASE_MINUTES * 60)
        self._end = self._deadline(request)
        try:
            answer = self._session.worker().call(
                "update" if request.is_update else "launch",
                on_line=hear,
                on_event=lambda event: self._provisioning(event, watch),
                until=lambda: self._until(request, allowed),
                task=self._task(request),
                cluster=request.cluster,
                fence=str(request.fence),
                deadline=request.deadline,
                money=self._end.money,
                quoted=quoted_prices.of_offers(request.offers).values,
                heartbeat=request.plan.limits.heartbeat_minutes,
                set_up_minutes=request.plan.limits.set_up_minutes,
                volumes=volumes.required(request.plan),
                key=sharing.key_pair(request),
                opening=open_port.values_of(request.plan.service, labels=request.labels, lease=request.cluster),
                avoid=[task.refused_request(attempt, sandbox=self._session.cloud_name) for attempt in request.avoid],
            )
        except Expired:
            self.stop()
            raise self._expired(request, allowed) from None
        except WorkerFailed as failure:
            error = self._failed(request, failure)
            self._fail_on_server(error)
            raise error from failure
        self._session.note_launch(
            LaunchedMachines(
                request=replace(request, deadline=answer["deadline"]),
                num_nodes=answer["num_nodes"],
                spot=answer["spot"],
            ),
            job_id=answer["job_id"],
            plan=request.plan,
        )
        return self._launch_of(request, answer)

    def keep(self, cluster: str, *, until: float, public_key: str | None, heartbeat: float = 0.0) -> Sequence[str]:
        self._session.is_attached = False
        try:
            words: dict[str, Any] = {"deadline": until, "public_key": public_key, "heartbeat": heartbeat}
            ways_in = self._session.worker().call("keep", until=within(KEEP_SECONDS), cluster=cluster, **words)
        except Expired:
            self.stop()
            raise EngineError(f"The machine did not take its new end within {KEEP_SECONDS:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure
        return tuple(map(str, ways_in))

    def enter(self, request: LaunchRequest) -> Launch:
        try:
            answer = self._session.worker().call(
                "enter",
                until=within(KEEP_SECONDS),
                cluster=request.cluster,
                deadline=request.deadline,
                heartbeat=request.plan.limits.heartbeat_minutes,
                quoted=quoted_prices.of_offers(request.offers).values,
            )
        except Expired:
            self.stop()
            raise EngineError(f"The machine did not answer within {KEEP_SECONDS:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure
        self._request, self._attempt, self._created_at = request, None, None
        self._session.note_entry(LaunchedMachines(request=request, num_nodes=answer["num_nodes"], spot=answer["spot"]))
        return self._launch_of(request, answer)

    def clean(self, cluster: str) -> None:
        try:
            answers = self._session.worker().call(
                "ask_nodes", until=within(CLEAN_SECONDS), cluster=cluster, command=script.clean()
            )
        except Expired:
            self.stop()
            raise EngineError(f"The machine was not clean within {CLEAN_SECONDS:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure
        nodes = self._launch_request().plan.machines.num_nodes
        if len(answers) != nodes:
            raise EngineError(f"{len(answers)} of {nodes} nodes told whether they are clean.")
        for rank, node in enumerate(answers):
            if node["code"] or not node["out"].rstrip().endswith(script.CLEAN):
                why = node["err"].strip()[-300:] or f"status {node['code']}"
                raise EngineError(f"Node {rank} is not clean after its job: {why}")
        self._session.shares_work = False  # the folders of the jobs before are gone

    def address(self) -> str:
        try:
            return str(self._session.call("address", until=within(KEEP_SECONDS)))
        except Expired:
            self.stop()
            raise EngineError(f"SkyPilot did not name the machine's address within {KEEP_SECONDS:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure

    def stop(self) -> bool:
        return self._session.stop()

    def down(self, cluster: str) -> None:
        self._session.is_attached = False
        try:
            self._session.worker().call("down", cluster=cluster, until=within(DOWN_SECONDS))
        except Expired:
            self.stop()
            raise EngineError(
                f"SkyPilot did not take {cluster} down within {DOWN_SECONDS:.0f} s.",
                money="cvl-ci asks the provider directly instead.",
            ) from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure

    def on_server(self, cluster: str | None) -> list[Mapping[str, Any]]:
        """Return all that an API server has of a lease, or of all leases, after it has asked the cloud again."""
        return self._server_list("exists", cluster)

    def recorded_on_server(self, cluster: str) -> list[Mapping[str, Any]]:
        """Return an API server's records of a cluster's machines, one for each launch."""
        return [
            {**record, "cloud": self._session.cloud_name or str(record["cloud"])}
            for record in self._server_list("recorded", cluster)
        ]

    def close(self) -> None:
        self._session.close()

    # ---- below ----------------------------------------------------------------------------------------------

    def _server_list(self, verb: str, cluster: str | None) -> list[Mapping[str, Any]]:
        """Return an API server's list about a cluster. Another answer proves nothing."""
        try:
            answer = self._session.worker().call(verb, cluster=cluster, until=within(DOWN_SECONDS))
        except Expired:
            self.stop()
            raise EngineError(f"It did not answer within {DOWN_SECONDS:.0f} s.") from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure
        if not isinstance(answer, list):
            raise EngineError("Its answer was not a list of clusters.")
        return answer

    def _failed(self, request: LaunchRequest, failure: WorkerFailed) -> CvlError:
        """Return the error of a failed launch. Without a request, the earlier refusals left no place to ask."""
        if self._refusals == [] and (of_storage := storage_refusals.of_mounts(failure, request.plan)):
            return of_storage
        refusals = self._refusals or [attempt.error or "" for attempt in request.avoid]
        was_requested = self._attempt is not None or bool(request.avoid)
        return sky_errors.as_cvl_error(failure, refusals=refusals, was_requested=was_requested)

    def _until(self, request: LaunchRequest, allowed: float) -> float:
        """Return the monotonic moment until which the launch may go on."""
        if self._is_lost or request.fence.exists():
            return -math.inf
        return min(self._patience + allowed, self._paid_until)

    def _expired(self, request: LaunchRequest, allowed: float) -> CvlError:
        """Return the error of a launch that was stopped: by its fence, the provider, its money or its patience."""
        if request.fence.exists():
            return sky_errors.ended_elsewhere()
        if self._is_lost:
            return sky_errors.lost_before_job()
        if time.monotonic() < self._patience + allowed:
            return BudgetError(
                "max_cost was used up, except the share for the release, before a machine was ready for the job.",
                money="cvl-ci takes down all that exists. Its cost until now is in the summary.",
                next_step="Raise `max_cost`, or choose places that have such machines.",
            )
        return EngineError(
            f"The machine was not ready {allowed / 60:.3g} minutes after its request. It did not answer by "
            "ssh, or SkyPilot could not set it up.",
            money="cvl-ci takes it down. Its cost until now is in the summary.",
            next_step="Run it again. If it fails again, try another region or instance type.",
        )

    def _launch_request(self) -> LaunchRequest:
        if self._request is None:
            raise EngineError("Nothing has been launched yet.")
        return self._request

    def _task(self, request: LaunchRequest) -> dict[str, object]:
        plan = request.plan
        remaining = (request.deadline - self._session.clock.now()) / 60
        return task.task_config(
            plan,
            name=request.cluster,
            workdir=str(request.staged),
            labels=request.labels,
            autodown_minutes=max(1, math.ceil(remaining)),
            env=script.environment(plan, lease=request.cluster, deadline=request.deadline, staged=request.staged),
            setup=script.setup(plan),
            run=script.run(plan, lease=request.cluster),
            lease=request.cluster,
            offers=request.offers,
            own_files=self._session.restored_files(plan, cluster=request.cluster),
        )

    def _provisioning(self, event: Mapping[str, Any], watch: Watch) -> None:
        if event["kind"] == "attempting":
            self._created_at, self._patience = self._session.clock.now(), time.monotonic()
            self._attempt = self._named_attempt(event["attempt"], error=None)
            self._end.set_price(self._attempt.hourly_usd, cloud=event["attempt"]["cloud"])
            self._paid_until = self._moment(self._end.at - RELEASE_MINUTES * 60)
            if self._attempt.is_bound:
                self._on_server = self._server_attempts(self._attempt, watch)
            watch(Attempting(attempt=self._attempt))
        elif event["kind"] == "named" and self._on_server is not None:
            self._on_server.name(event["attempt"])
        elif event["kind"] == "making_bucket":
            watch(MakingBucket(bucket=Bucket(name=event["name"], region=event["region"], stays=event["stays"])))
        elif event["kind"] == "attempt_failed":
            self._refusals.append(event["text"])
            machines = int(event.get("machines", 0))
            self._end.note_failure(machines)
            attempt = self._named_attempt(event["attempt"], error=event["text"])
            watch(AttemptFailed(attempt=replace(attempt, machines=machines)))
        elif event["kind"] == "nodes_lost":
            self._is_lost = True
        elif event["kind"] == "too_dear":
            self._refusals.append(event["text"])
            place = self._named_attempt(event["attempt"], error=event["text"])
            watch(Progress(text=f"{place.where} is left out: {event['text']}"))

    def _fail_on_server(self, error: CvlError) -> None:
        if self._on_server is not None:
            self._on_server.fail(error.what)

    def _most_usd(self, values: Mapping[str, Any]) -> float:
        return most_usd(self._launch_request().offers, cloud=values["cloud"], region=values["region"])

    def _server_attempts(self, first: Attempt, watch: Watch) -> ServerAttempts:
        request = self._launch_request()
        nodes, sandbox = request.plan.machines.num_nodes, self._session.cloud_name
        return ServerAttempts(first, nodes=nodes, offers=request.offers, sandbox=sandbox, watch=watch)

    def _deadline(self, request: LaunchRequest) -> Deadline:
        plan = request.plan
        return Deadline(
            request.deadline,
            budget=Budget(max_usd=plan.limits.max_cost_usd, spent_usd=request.spent_usd),
            nodes=plan.machines.num_nodes,
            disk_gb=plan.machines.needs.largest_disk_gb,
            now=self._session.clock.now,
        )

    def _moment(self, epoch: float) -> float:
        """Convert to the monotonic clock, which no program can set."""
        return time.monotonic() + epoch - self._session.clock.now()

    def _named_attempt(self, values: Mapping[str, Any], *, error: str | None) -> Attempt:
        likely, has_price = self._launch_request().likely, values["hourly_usd"] is not None
        return Attempt(
            cloud=self._session.cloud_name or values["cloud"],
            region=values["region"],
            zone=values["zone"],
            instance_type=values["instance_type"] or (likely.instance_type if likely else ""),
            spot=values["spot"],
            hourly_usd=self._hourly_usd(values) if has_price else self._most_usd(values),
            error=error,
            is_bound=not has_price,
        )

    def _hourly_usd(self, values: Mapping[str, Any]) -> float:
        """Return the price.

        The catalogue of this computer may lack the machine that an API server took. The quoted price then counts.
        """
        if values["hourly_usd"] is not None:
            return float(values["hourly_usd"])
        likely = self._launch_request().likely
        return likely.hourly_usd if likely else 0.0

    def _launch_of(self, request: LaunchRequest, answer: Mapping[str, Any]) -> Launch:
        attempt = self._on_server.attempt if self._on_server else self._attempt
        return Launch(
            cluster=request.cluster,
            cloud=self._session.cloud_name or answer["cloud"],
            region=answer["region"],
            zone=answer["zone"] or (attempt.zone if attempt else None),
            instance_type=answer["instance_type"],
            accelerators=answer["accelerators"],
            spot=answer["spot"],
            num_nodes=answer["num_nodes"],
            hourly_usd=self._hourly_usd(answer),
            created_at=self._created_at if self._created_at is not None else self._session.clock.now(),
            deadline=answer["deadline"],
        )
