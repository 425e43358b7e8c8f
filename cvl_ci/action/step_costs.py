"""The costs of several runs that one step tells, as the history reads them: one artifact with a file for each run.

They are the jobs of a queue, and the leases that a sweep ended: their own step was lost, so no other step tells them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cvl_ci.action.saved_outcome import outcome_from
from cvl_ci.action.state import SavedJob, StepState
from cvl_ci.commands.publish import Files, PublishPorts, keep_costs, write_cost
from cvl_ci.errors import NotProvedGone
from cvl_ci.model.launch import Attempt
from cvl_ci.model.lease_name import is_lease
from cvl_ci.model.ledger import Cost, Ledger
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.outcome import EXIT_CODES, Ending, MachineResult, Outcome
from cvl_ci.model.release import Release
from cvl_ci.model.resource import ResourceKind
from cvl_ci.model.work_identity import WorkIdentity

if TYPE_CHECKING:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.step import Step
    from cvl_ci.commands.reap.reap import Reaped, Suspect
    from cvl_ci.model.launch import Spending
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.wiring.queue_runs import EndedJob


class StepCosts:
    """The cost files of one step, next to its saved state: neither a job nor a commit can write there."""

    def __init__(self, step: Step, publication: StepPublication) -> None:
        self._step, self._publication = step, publication
        self._folder = step.state.costs
        self._lock = threading.RLock()

    def note(self, job: str, plan: RunPlan, lease: str, spending: Spending) -> None:
        """Save the requests of a lease, from which post computes the cost if main is killed."""
        saved = SavedJob(job=job, work=plan.identity, spending=spending)
        with self._lock:
            self._step.state.update(jobs={**self._step.state.now.jobs, lease: saved})

    def add(self, jobs: Sequence[EndedJob]) -> None:
        """Write the cost of each job of a machine that was released."""
        with self._lock:
            for one in _distinct(jobs):
                write_cost(one.outcome, self._files(one.lease, leg=one.job), tools=self._tools())

    def upload(self) -> None:
        """Upload all costs of this step as one artifact, once."""
        keep_costs(folder=self._folder, files=self._files(""), tools=self._tools())

    def add_released(self, releases: Mapping[str, Release], saved: StepState) -> Mapping[str, float]:
        """Write the cost of the leases that post released. Return their dollars."""
        dollars = {}
        for lease, release in releases.items():
            job = saved.jobs.get(lease)
            if job is None:
                continue  # nothing was requested under it
            state = StepState(lease=lease, work=job.work, spending=job.spending)
            outcome = outcome_from(state, release, name=lease, folder=self._folder / lease)
            dollars[lease] = outcome.cost.usd if outcome.cost and outcome.cost.billed else 0.0
            write_cost(self._step.masks.cleaned(outcome), self._files(lease, leg=job.job), tools=self._tools())
        return dollars

    def add_reaped(self, reaped: Reaped) -> None:
        """Write the cost of each lease that a sweep ended."""
        for suspect in reaped.due:
            if suspect.usd is not None and is_lease(suspect.lease):
                outcome = self._step.masks.cleaned(_of_suspect(suspect, reaped))
                files = self._files(suspect.lease)
                files = replace(files, facts=replace(files.facts, is_sweep=True))
                write_cost(outcome, files, tools=self._tools())

    def _files(self, lease: str, *, leg: str = "") -> Files:
        files = self._publication.files(uploaded={})
        words = " ".join(filter(None, [files.facts.leg, leg]))
        facts = replace(files.facts, leg=words, first_error="", last_lines=())
        return replace(files, folder=self._folder / lease, facts=facts)

    def _tools(self) -> PublishPorts:
        return self._publication.ports()


def _distinct(jobs: Sequence[EndedJob]) -> Sequence[EndedJob]:
    """Return the jobs of a machine, each with a run of its own name. Without proof, the first one stands for all.

    Of runs with one name, a history counts one alone. Only the machine's own name can end it.
    """
    if not jobs or all(one.outcome.release is not None and one.outcome.release.gone for one in jobs):
        return [replace(one, outcome=_named(one.outcome, one.lease)) for one in jobs]
    costs = [one.outcome.cost for one in jobs if one.outcome.cost is not None]
    if not costs:
        return jobs[:1]
    entries = tuple(entry for cost in costs for entry in cost.ledger.entries)
    sum_of_all = replace(costs[0], ledger=Ledger(entries=entries))
    return [replace(jobs[0], outcome=replace(jobs[0].outcome, cost=sum_of_all))]


def _of_suspect(suspect: Suspect, reaped: Reaped) -> Outcome:
    """Return the end of a run that only its leftovers tell. An earlier summary of the run may have told another end."""
    ids = {resource.id for resource in reaped.remaining}
    is_gone = not any(resource.id in ids for resource in suspect.resources)
    machine = next((one for one in suspect.resources if one.kind is ResourceKind.MACHINE), suspect.resources[0])
    attempt = Attempt(
        cloud=machine.provider,
        region=machine.region,
        zone=None,
        instance_type=machine.instance_type,
        spot=machine.pricing.spot,
        hourly_usd=0.0,
    )
    return Outcome(
        ending=Ending.CANCELLED,
        reason=f"Its run did not take its machines down ({suspect.why}). A sweep did.",
        exit_code=EXIT_CODES[Ending.CANCELLED] if is_gone else NotProvedGone.exit_code,
        work=WorkIdentity(title=suspect.lease),
        machines=MachineResult(cluster=suspect.lease, attempts=(attempt,)),
        cost=Cost(ledger=suspect.ledger, hourly_usd=0.0, billed=machine.provider != SANDBOX),
        release=Release(gone=is_gone, at=reaped.asked_at),
    )


def _named(outcome: Outcome, name: str) -> Outcome:
    return replace(outcome, machines=replace(outcome.machines, cluster=name))
