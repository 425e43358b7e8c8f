"""Carry out the stages of a run, in the order of transitions.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.run import detaching, recovery, serving, spending
from cvl_ci.commands.run.state import RunState
from cvl_ci.commands.run.transitions import FIRST, LAST, Stage, StageEnd, next_stage
from cvl_ci.errors import CvlError, EngineError, RequestRefused, explain_while_running
from cvl_ci.lease import Lease
from cvl_ci.model.launch import Launch
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.loss import LossKind
from cvl_ci.model.outcome import Phase
from cvl_ci.ports import Cloud, JobEnd, JobRequest, LaunchRequest
from cvl_ci.result.recovery_text import recovery_begins, replacement_begins

LIMIT_GRACE_SECONDS = 60.0
"""The machine ends the job by itself at its limit. If it does not, the runner does so this much later."""
RESCUE_SECONDS = 60.0
"""After a person stops a job, its machine waits this long for the outputs: it costs money meanwhile."""


class Stages:
    """The stages of one run, under its lease. `staged`: the files for each machine."""

    def __init__(self, state: RunState, cloud: Cloud, lease: Lease, staged: Path) -> None:
        self._state = state
        self._cloud = cloud
        self._lease = lease
        self._staged = staged
        self._stages: dict[Stage, Callable[[], StageEnd]] = {
            Stage.LAUNCH: self._launch,
            Stage.SUBMIT: self._submit,
            Stage.FOLLOW: self._follow,
            Stage.SERVE: self._serve,
            Stage.CLEAR: self._clear,
            Stage.FETCH: self._fetch,
            Stage.RESCUE: self._rescue,
        }

    def carry_out(self, first: Stage = FIRST) -> None:
        """Carry out one stage after the other, until only the release is left."""
        stage = first
        while stage is not LAST:
            stage = next_stage(stage, self._end_of(self._stages[stage]))

    def _end_of(self, stage: Callable[[], StageEnd]) -> StageEnd:
        facts = self._state.facts
        try:
            return stage()
        except CvlError as error:
            facts.failure = facts.failure or error
            return StageEnd.FAILED
        except KeyboardInterrupt:
            facts.cancelled = True
            return StageEnd.STOPPED

    def _launch(self) -> StageEnd:
        state, lease = self._state, self._lease
        if not state.is_recovering:
            state.enter(Phase.PROVISIONING)
            state.ports.reporter.show(f"lease {lease.name}: if this run is lost, `cvl-ci down {lease.name}` ends it")
        request = LaunchRequest(
            plan=recovery.plan_of_launch(state),
            cluster=lease.name,
            labels=lease.record.labels,
            staged=self._staged,
            deadline=lease.record.deadline,
            fence=state.ports.records.fence(lease.name),
            likely=state.quote.offers[0] if state.quote.offers else None,
            spent_usd=spending.spent_before(state),
            offers=state.quote.offers,
            avoid=recovery.avoided(state) if state.is_recovering else (),
        )
        try:
            with _offers_named(state):
                launch = self._cloud.machines.launch(request, watch=state.watch)
        except EngineError:
            if not self._was_taken_away(unlaunched := recovery.unfinished_launch(state), request):
                raise
            state.launches.current = unlaunched
            return self._lost(lease.record.deadline)
        state.note_launch(launch)
        if state.plan.detach.is_managed:
            return StageEnd.MANAGED  # its machine does not exist yet
        if state.plan.has_replicas:
            return StageEnd.SERVING  # nor do these
        state.ports.reporter.show_launch(launch)
        return StageEnd.SERVING if state.plan.service else StageEnd.RUNNING

    def _was_taken_away(self, launch: Launch | None, request: LaunchRequest) -> bool:
        """Note a loss of the new machines before they had the job. Return whether the provider shows it."""
        lost = recovery.asked_provider(self._state, self._lease, launch)
        if lost is None or not lost.is_proved or request.fence.exists():
            return False
        if not recovery.existed(self._state, self._lease):
            return False
        self._state.facts.job = JobEnd(lost=lost)
        return True

    def _serve(self) -> StageEnd:
        serving.wait_and_smoke(self._state, self._cloud, deadline=self._lease.record.deadline)
        return StageEnd.ANSWERED if self._state.service else StageEnd.NOT_ANSWERED

    def _submit(self) -> StageEnd:
        """Send a further job to the machines of the job before. Its staged files are added to the same folder."""
        self._state.enter(Phase.PROVISIONING)
        request = JobRequest(plan=recovery.plan_of_launch(self._state), staged=self._staged)
        self._cloud.jobs.submit(request, watch=self._state.watch)
        return StageEnd.RUNNING

    def _follow(self) -> StageEnd:
        state, deadline = self._state, self._lease.record.deadline
        launch, end = state.launches.current, deadline
        if launch is not None:
            is_further = state.sharing is not None and state.sharing.is_further
            end = launch.end_before(deadline) if is_further else spending.end_of_money(state, launch, deadline)
        until = end - RELEASE_MINUTES * 60 + LIMIT_GRACE_SECONDS
        if state.plan.detach.place is not None:
            if detaching.follow_until_it_runs(state, self._cloud, until=until):
                return StageEnd.DETACHED
        else:
            state.facts.job = self._cloud.jobs.follow(watch=state.watch, until=until)
        return self._end_of_job(deadline)

    def _end_of_job(self, deadline: float) -> StageEnd:
        state = self._state
        if state.facts.job is None:
            return StageEnd.FAILED
        if state.facts.lost is None:
            return self._unfit(deadline=deadline) if state.facts.job.unfit else StageEnd.JOB_OVER
        if state.facts.lost.kind is LossKind.UNREACHABLE:
            lost = recovery.asked_provider(state, self._lease, state.launches.current) or state.facts.lost
            state.facts.job = replace(state.facts.job, lost=lost)
        return self._lost(deadline)

    def _lost(self, deadline: float) -> StageEnd:
        """Recover from the loss of the current machines, if tries, time and money are left."""
        state = self._state
        state.facts.lost_at = state.ports.clock.now()
        if recovery.can_recover(state, deadline=deadline):
            recovery.note_loss(state)
            state.enter(Phase.RECOVERING)
            number, of = state.launches.losses, state.plan.machines.recoveries
            state.ports.reporter.notice(recovery_begins(state.launches.recoveries[-1], number=number, of=of))
            return StageEnd.LOST
        state.facts.came_through = True
        return StageEnd.LOST_FOR_GOOD

    def _unfit(self, *, deadline: float) -> StageEnd:
        """Give broken machines back, and ask for others elsewhere, if tries, time and money are left."""
        state = self._state
        if not recovery.can_replace(state, deadline=deadline):
            state.facts.came_through = True
            return StageEnd.UNFIT
        recovery.note_unfit(state)
        state.enter(Phase.RECOVERING)
        number, of = state.launches.replacements, recovery.MOST_REPLACEMENTS
        state.ports.reporter.notice(replacement_begins(state.launches.recoveries[-1], number=number, of=of))
        return StageEnd.REPLACED

    def _clear(self) -> StageEnd:
        """End the lost or broken machines. Without proof of their end, the run asks for no others."""
        release = self._lease.clear()
        if not release.gone:
            self._state.facts.warnings.append(
                "cvl-ci asked for no other machines: the end of the earlier ones could not be proved."
            )
            return StageEnd.NOT_PROVED
        recovery.note_gone(self._state, release, copied=self._cloud.jobs.newest_checkpoint())
        # The next machines have an end of their own, even if their launch never ends.
        self._state.facts.lost_at = None
        return StageEnd.GONE

    def _fetch(self) -> StageEnd:
        """Fetch the outputs. An error here changes no ending: the job is over, and its own code stands."""
        state = self._state
        state.enter(Phase.FETCHING)
        try:
            self._cloud.jobs.fetch(globs=state.plan.files.outputs)
        except Exception as error:  # noqa: BLE001  a machine chose the files
            state.facts.warnings.append(f"The outputs could not be fetched: {explain_while_running(error)}")
        else:
            state.facts.came_through = True
        return StageEnd.DONE

    def _rescue(self) -> StageEnd:
        if self._state.ports.interruptible is not None:
            self._fetch_stopped(self._state.ports.interruptible)
        return StageEnd.DONE

    def _fetch_stopped(self, interruptible: Callable[[], AbstractContextManager[object]]) -> None:
        """Fetch the files of a stopped job, checkpoints above all, for at most a minute. A second Ctrl-C skips it."""
        state = self._state
        try:
            with interruptible():
                state.ports.reporter.warning(
                    f"Stopping: cvl-ci first fetches the job's files, for at most {RESCUE_SECONDS:.0f} s. "
                    "Then it takes the machine down. Ctrl-C again takes it down at once."
                )
                self._cloud.machines.stop()
                state.enter(Phase.FETCHING)
                self._cloud.jobs.fetch(globs=state.plan.files.outputs, within=RESCUE_SECONDS)
        except KeyboardInterrupt:
            state.ports.reporter.warning("The job's files stay on the machine, which cvl-ci takes down now.")
        except Exception as error:  # noqa: BLE001  the run was stopped, and that stays its end
            state.facts.warnings.append(f"The outputs could not be fetched: {explain_while_running(error)}")


@contextmanager
def _offers_named(state: RunState) -> Iterator[None]:
    """Add to the refusal of a machine without any offer which machines with these GPUs exist."""
    try:
        yield
    except RequestRefused as error:
        alternatives = "" if state.quote.offers else quoting.alternatives_text(state.plan, state.ports.prices)
        if not alternatives:
            raise
        what = f"{error.what.rstrip()} There is: {alternatives}."
        raise RequestRefused(what, money=error.money, next_step=error.next_step) from error
