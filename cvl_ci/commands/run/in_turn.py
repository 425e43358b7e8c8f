"""Run jobs in turn on one machine, under one lease: launch it with the first job, and submit each further one.

The machine ends after the last job, or after a job whose end leaves it in doubt, with proof in either case.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from cvl_ci.commands.plan import month, quote_text
from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.run import mount_sources, spending, steps
from cvl_ci.commands.run.outcome import is_fit_for_another, outcome
from cvl_ci.commands.run.stages import Stages
from cvl_ci.commands.run.state import Launches, MachineSharing, RunPorts, RunState, Timeline
from cvl_ci.commands.run.transitions import Stage
from cvl_ci.errors import explain_while_running
from cvl_ci.lease import Lease
from cvl_ci.model.limits import RELEASE_MINUTES, Limits
from cvl_ci.model.offer import Quote
from cvl_ci.model.outcome import Outcome, Phase
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.ports import Cloud, Event, RunReporter
from cvl_ci.result.no_follow import refuse_links

SHORTEST_UNPACK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One job of a shared machine. `outputs`: the folder for its files; `workflow`: its watcher."""

    job: str
    plan: RunPlan
    outputs: Path
    reporter: RunReporter


class Turns(Protocol):
    """The jobs of one machine, after the first."""

    def next(self, *, until: float) -> Turn | None:
        """Wait for the next job. None: there is no further one, or none came by then, in epoch seconds."""

    def finish(self, turn: Turn, result: Outcome) -> None:
        """Take the end of a job whose machine goes on: its cost and its proof come with the end of the machine."""


@dataclass(frozen=True, kw_only=True)
class MachineEnd:
    """The end of a shared machine. `outcomes`: of each job, with its share of the cost and with the proof.

    `release`: None if nothing was created. The last job may be one whose end `Turns.finish` did not get.
    """

    release: Release | None
    outcomes: tuple[tuple[Turn, Outcome], ...]


@dataclass(kw_only=True)
class _Served:
    """One job so far. `result`: its end as told, while the machine went on. `ended_at`: epoch seconds."""

    turn: Turn
    state: RunState
    result: Outcome | None = None
    ended_at: float = 0.0
    is_unpacked: bool = False


def run_in_turn(first: Turn, turns: Turns, *, owner: Owner, limits: Limits, ports: RunPorts) -> MachineEnd:
    """Run the first job and then each of `turns`. `limits`: those of the machine, for all its jobs together.

    It raises CvlError only before any cost is possible. KeyboardInterrupt ends the machine and the job under way.
    """
    steps.refuse_missing_scripts(first.plan)
    month.require_known(first.plan)
    quoted = quoting.quote(replace(first.plan, limits=limits), ports.prices)
    return _SharedMachine(owner=owner, limits=limits, quote=quoted, ports=ports, turns=turns).carry_out(first)


@dataclass(kw_only=True)
class _SharedMachine:
    """The one machine. `served`: its jobs so far, in order."""

    owner: Owner
    limits: Limits
    quote: Quote
    ports: RunPorts
    turns: Turns
    served: list[_Served] = field(default_factory=list)

    def carry_out(self, first: Turn) -> MachineEnd:
        state = self._begin(first)
        reporter, plan = first.reporter, first.plan
        reporter.show_quote(plan, quote_text.in_one_line(replace(plan, limits=self.limits), self.quote))
        for warning in (*plan.warnings, *self.quote.warnings):
            reporter.warning(warning)
        if plan.machines.is_on_sandbox:
            state.enter(Phase.SANDBOX)
        with (
            steps.failures_kept(state),
            self.ports.clouds.open(plan.machines.locations, user_id=self.owner.user_id, watch=self._watch) as cloud,
        ):
            state.cloud = cloud
            try:
                with steps.failures_kept(state):
                    cloud.machines.warm()
                    with self._staged(state) as staged, steps.under_lease(state, cloud) as lease:
                        Stages(state, cloud, lease, staged).carry_out()
                        self._go_on_until_stopped(cloud, lease)
            finally:
                # Needed only if a signal came between the end of the work and the beginning of the release.
                if state.lease is not None and state.facts.release is None:
                    state.facts.release = steps.release_or_keep(state, state.lease)
            if not self.served[-1].is_unpacked:
                self._unpack(self.served[-1], cloud)
        return self._end(state.facts.release)

    def _go_on_until_stopped(self, cloud: Cloud, lease: Lease) -> None:
        """Run further jobs. A stop between two steps is the end of the present job, and of no earlier one."""
        try:
            self._go_on(cloud, lease)
        except KeyboardInterrupt:
            self.served[-1].state.facts.cancelled = True

    def _unpack(self, served: _Served, cloud: Cloud, *, within: float = math.inf) -> None:
        """Unpack a job's files once: the archives are gone after that, and a second time would find no files."""
        served.is_unpacked = True
        steps.unpack(served.state, cloud, within=within)

    def _go_on(self, cloud: Cloud, lease: Lease) -> None:
        """Run further jobs as long as the machine is fit for one, and one comes before the machine's deadline."""
        clock, launch = self.ports.clock, self.served[0].state.launches.current
        deadline = launch.end_before(lease.record.deadline) if launch else lease.record.deadline
        last = deadline - RELEASE_MINUTES * 60
        while is_fit_for_another(self.served[-1].state):
            served = self.served[-1]
            self._unpack(served, cloud, within=max(SHORTEST_UNPACK_SECONDS, last - clock.now()))
            if served.state.facts.cancelled:
                return
            served.state.enter(None)
            served.ended_at, served.result = clock.now(), outcome(served.state)
            if not self._is_clean(served, cloud, lease):
                return
            self.turns.finish(served.turn, served.result)
            turn = self.turns.next(until=last)
            if turn is None:
                return
            state = self._begin(turn, before=served.state)
            with steps.failures_kept(state), self._staged(state) as staged:
                Stages(state, cloud, lease, staged).carry_out(Stage.SUBMIT)

    def _is_clean(self, served: _Served, cloud: Cloud, lease: Lease) -> bool:
        """Clean the machine after a job whose plan requests it. A machine in doubt takes no further job."""
        if not served.turn.plan.machines.is_cleaned:
            return True
        try:
            cloud.machines.clean(lease.name)
        except Exception as error:  # noqa: BLE001  the job has ended, and its end stands
            self.served[0].state.facts.warnings.append(
                f"The machine is not clean for a further job, so cvl-ci takes it down: {explain_while_running(error)}"
            )
            return False
        return True

    def _begin(self, turn: Turn, *, before: RunState | None = None) -> RunState:
        clock = self.ports.clock
        state = RunState(
            plan=turn.plan,
            quote=self.quote,
            owner=self.owner,
            outputs=turn.outputs,
            ports=replace(self.ports, reporter=turn.reporter),
            timeline=Timeline(clock=clock, started=clock.monotonic()),
            sharing=MachineSharing(limits=self.limits, is_further=before is not None),
        )
        if before is not None:
            state.cloud, state.lease = before.cloud, before.lease
            state.launches = Launches(current=before.launches.current, attempts=before.launches.attempts)
        self.served.append(_Served(turn=turn, state=state))
        return state

    @contextmanager
    def _staged(self, state: RunState) -> Iterator[Path]:
        """Collect the files of a job for its machine."""
        folder = state.outputs
        refuse_links(folder, *(folder.with_name(f"{folder.name}.{kind}") for kind in ("log", "json")))
        state.enter(Phase.STAGING)
        steps.bring_models(state)
        if (cloud := state.cloud) is not None:
            mount_sources.require(state.plan, cloud.contents, state.ports.reporter.progress, hub=cloud.hub)
        steps.tell_files(state.plan, state.ports)
        with self.ports.staging.staged(state.plan.files.staged, commits=state.plan.files.commits) as staged:
            yield staged

    def _watch(self, event: Event) -> None:
        self.served[-1].state.watch(event)

    def _end(self, release: Release | None) -> MachineEnd:
        """Divide the cost among the jobs, and give each outcome the proof."""
        last, first = self.served[-1], self.served[0]
        if last.result is None:
            last.state.facts.release, last.ended_at = release, self.ports.clock.now()
            last.state.enter(None)
        shares = spending.shares(
            [served.state for served in self.served], [served.ended_at for served in self.served], release
        )
        results = []
        for number, (served, cost) in enumerate(zip(self.served, shares, strict=True), 1):
            result = served.result or outcome(served.state)
            machines = replace(result.machines, turn=number)
            late = [text for text in first.state.facts.warnings if served is last and text not in result.warnings]
            results.append(
                (
                    served.turn,
                    replace(result, machines=machines, cost=cost, release=release, warnings=(*result.warnings, *late)),
                )
            )
        return MachineEnd(release=release, outcomes=tuple(results))
