"""Implement the Jobs port with SkyPilot: submit, stream, fetch and unpack, through the session's worker process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvl_ci.engine import fitness, sky_errors
from cvl_ci.engine.fetch import transfer
from cvl_ci.engine.fetch.fetched_archives import Brought
from cvl_ci.engine.job_end import ANSWER_SECONDS, JobEndReader
from cvl_ci.engine.log_follower import Following
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.session import Session, within
from cvl_ci.engine.task import script, task
from cvl_ci.errors import EngineError
from cvl_ci.model.checkpoint_plan import StoredCheckpoint
from cvl_ci.model.fitness import MachineState
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.ports import Fetched, JobEnd, JobRequest, Watch

OVERTIME_SECONDS = 90.0
"""The machine ends a job at its limit. If the job still runs after this many more seconds, the runner ends it."""
FETCH_SECONDS = 30.0
"""Fetching has at least this long, and leaves the same time before the deadline."""
LOOK_SECONDS, SPOT_LOOK_SECONDS = 20.0, 10.0
"""Seconds between two questions to the provider whether the machines exist. It may take spot machines at any time."""
SUBMIT_SECONDS = 300.0
"""The longest time for sending a further job's files, which go to live machines."""


class SkyPilotJobs:
    """The jobs of one lease's machines."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def submit(self, request: JobRequest, *, watch: Watch) -> None:
        session, plan = self._session, request.plan
        machines = session.machines.request
        name = session.next_folder
        work_of = machines.cluster if session.shares_work else ""
        env = script.environment(plan, lease=name, deadline=machines.deadline, staged=request.staged, work_of=work_of)
        seconds_left = machines.deadline - RELEASE_MINUTES * 60 - session.clock.now()
        try:
            job_id = session.call(
                "submit",
                on_line=sky_errors.ProgressFilter(watch),
                until=within(max(0.0, min(SUBMIT_SECONDS, seconds_left))),
                task=task.task_config(
                    plan,
                    name=name,
                    workdir=str(request.staged),
                    labels={},
                    autodown_minutes=None,
                    env=env,
                    setup=None,
                    run=script.run(plan, lease=name, with_setup=True),
                    lease=name,
                ),
            )
        except Expired:
            session.stop()
            raise EngineError(
                f"The machine did not take a further job within {SUBMIT_SECONDS:.0f} s, or before its end.",
                money="It ends with its lease.",
                next_step="Run the job again, on a machine of its own.",
            ) from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure
        session.note_job(job_id, plan=plan)

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        end = self.follow_until(watch=watch, until=until, enough=lambda: False)
        return JobEnd() if end is None else end

    def follow_until(self, *, watch: Watch, until: float, enough: Callable[[], bool]) -> JobEnd | None:
        session, is_enough = self._session, False

        def moment() -> float:
            nonlocal is_enough
            is_enough = not stream.lost and enough()
            if stream.lost or is_enough:
                return -math.inf
            return min(latest, (stream.start or math.inf) + allowed)

        copy = session.copied_checkpoints()

        def hear(event: Mapping[str, Any]) -> None:
            if copy is not None:
                copy.note(event, watch)
            stream.event(event)

        stream = Following(watch, num_nodes=session.machines.num_nodes)
        ending = JobEndReader(session=session, stream=stream)
        latest = time.monotonic() + max(0.0, until - session.clock.now())
        allowed = session.job_plan.limits.max_runtime_minutes * 60 + OVERTIME_SECONDS
        try:
            session.call(
                "follow",
                on_line=stream.line,
                on_rest=stream.rest,
                on_event=hear,
                until=moment,
                job_id=session.job_id,
                look_seconds=SPOT_LOOK_SECONDS if session.machines.spot else LOOK_SECONDS,
                checkpoints=copy and copy.request(session.folder, interval=session.job_plan.checkpoints.every_seconds),
            )
        except Expired:
            if is_enough:
                session.stop()
                return None
            if stream.lost:
                session.stop()
                return JobEnd(lost=ending.shown_lost(stream.lost))
            return ending.cut_short()
        except WorkerFailed as failure:
            return JobEnd(lost=ending.loss(f"SkyPilot lost the machine: {failure.error}: {failure.text}"))
        finally:
            if copy is not None:
                copy.tell_bytes(watch)
        return ending.by_itself()

    def cancel(self) -> None:
        try:
            self._session.call("cancel", job_id=self._session.job_id, until=within(ANSWER_SECONDS))
        except Expired:
            self._session.stop()
            raise EngineError(
                f"The machine did not end its job within {ANSWER_SECONDS:.0f} s.",
                money="It is billed until its lease ends.",
            ) from None
        except WorkerFailed as failure:
            raise sky_errors.as_cvl_error(failure) from failure

    def fetch(self, *, globs: Sequence[str], within: float = math.inf) -> None:
        session = self._session
        directory, name = session.job_plan.work.directory, session.folder
        session.drop_archives()
        session.archives = brought = Brought(globs=tuple(globs), directory=directory)
        command = script.collect(lease=name, directory=directory, globs=brought.globs)
        deadline = session.machines.request.deadline
        seconds_left = min(within, max(FETCH_SECONDS, deadline - session.clock.now() - FETCH_SECONDS))
        if within == math.inf and session.job_plan.machines.needs.accelerators:
            brought.states_after = self._probed_again(at_most=min(fitness.PROBE_SECONDS, seconds_left / 2))
        end = time.monotonic() + seconds_left
        patience = transfer.packing(brought.path, end=end)
        try:
            packed = session.call("ask_nodes", command=command, until=lambda: patience.until)
            archives = transfer.archives_to_fetch(packed, room=transfer.room(brought.path))
            brought.problems += archives.problems
            patience = transfer.TransferLimit(
                archives=brought.path, until=end, most=archives.bytes + transfer.SLACK_BYTES
            )
            remote = f"~/.cvl-ci/{name}/fetch"
            brought.problems += session.call(
                "bring", remote=remote, files=archives.nodes, into=str(brought.path), until=patience
            )
        except Expired:
            session.stop()
            brought.problems.append(f"Not all outputs were fetched: {patience.why}.")
        except WorkerFailed as failure:
            brought.problems.append(f"Not all outputs could be fetched: {failure.error}: {failure.text}"[:500])

    def unpack(self, *, into: Path, within: float = math.inf) -> Fetched:
        session = self._session
        brought, session.archives = session.archives, None
        environment, end = session.environment, time.monotonic() + within
        fetched = brought.unpacked(into, environment=environment, within=within) if brought else Fetched()
        copy = session.checkpoints
        if copy is None:
            return fetched
        if not fetched.files and (brought is None or fetched.problem):
            seconds = max(0.0, end - time.monotonic())
            directory = session.job_plan.work.directory
            other = copy.unpacked(into, directory=directory, environment=environment, within=seconds)
            problem = " ".join(filter(None, [fetched.problem, other.problem])) or None
            fetched = replace(other, problem=problem, states_after=fetched.states_after)
        return replace(fetched, warnings=(*copy.warnings, *fetched.warnings))

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        copy = self._session.checkpoints
        return None if copy is None else copy.newest()

    def _probed_again(self, *, at_most: float) -> tuple[MachineState, ...]:
        """Return the states of the machines after the job. Without an answer they are unknown, which changes no end."""
        session = self._session
        command = script.probe_again(session.job_plan, lease=session.folder)
        try:
            answers = session.call("ask_nodes", command=command, until=within(at_most))
        except (Expired, WorkerFailed) as error:
            if isinstance(error, Expired):
                session.stop()
            answers = []
        return fitness.states(answers, count=session.machines.num_nodes)
