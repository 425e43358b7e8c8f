"""The costs of a queue's jobs, as the history of runs reads them: one artifact with a file for each job's attempt."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cvl_ci.action.saved_outcome import outcome_from
from cvl_ci.action.state import SavedJob, StepState
from cvl_ci.commands.publish import Files, PublishPorts, keep_costs, write_cost
from cvl_ci.model.ledger import Ledger

if TYPE_CHECKING:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.step import Step
    from cvl_ci.model.launch import Spending
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.release import Release
    from cvl_ci.wiring.queue_runs import EndedJob


class QueueCosts:
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


def _named(outcome: Outcome, name: str) -> Outcome:
    return replace(outcome, machines=replace(outcome.machines, cluster=name))
