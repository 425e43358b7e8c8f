"""End the machines that a killed queue left running, tell their cost, and count it in the next queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cvl_ci.commands.queue.queue_ports import EndedLease, QueuePorts
from cvl_ci.commands.queue.schedule import FormerCost
from cvl_ci.model.location import REPLICATED
from cvl_ci.model.queue import JobRecord, JobState, Queue
from cvl_ci.model.release import Release
from cvl_ci.ports import LeaseRecord, Records
from cvl_ci.result import spent
from cvl_ci.result.units import dollars


def end_of(record: LeaseRecord | None, release: Release, records: Records) -> EndedLease:
    """Return a lease with its cost, by the requests that its run recorded. `record`: as it was before its release.

    A lease that had ended before, or by its deadline, cost nothing after that moment.
    """
    spending = records.spending(record.name) if record is not None else None
    if record is None or spending is None or any(location.cloud == REPLICATED for location in record.locations):
        is_untouched = record is not None and not record.regions and not record.buckets
        return EndedLease(release=release, usd=0.0 if is_untouched else None)
    if not spending.billed:
        return EndedLease(release=release, usd=0.0)
    known_ends = [moment for moment in (record.deadline, record.released_at) if moment]
    buckets = release.billed_buckets(spending.attempts)
    ledger = spent.after_release(spending, release, ended_by=min(known_ends, default=None), buckets=buckets)
    return EndedLease(release=release, usd=spent.known_usd(ledger), is_bound=ledger.is_bound)


def end(
    earlier: Mapping[str, JobRecord], queued: Queue, *, prices: Mapping[str, float | None], ports: QueuePorts
) -> tuple[Mapping[str, JobRecord], FormerCost]:
    """End the leases of jobs that were under way, and those without a proof. Raises NotProvedGone.

    Return the records of the jobs with the proof, and the cost for this queue. `prices`: the most that each job costs.
    """
    unproved = {
        name: one for name, one in earlier.items() if one.lease and (one.state is JobState.RUNNING or not one.is_gone)
    }
    if not unproved:
        return earlier, FormerCost()
    bill = _Bill(queue=queued, prices=prices)
    for lease, lease_end in ports.runs.end(list(dict.fromkeys(one.lease for one in unproved.values()))).items():
        if line := bill.add(lease_end, {name: one for name, one in unproved.items() if one.lease == lease}):
            ports.tell(line)
    proved = {name: _with_proof(one) for name, one in unproved.items()}  # the provider has just shown it
    return {**earlier, **proved}, FormerCost(by_job=bill.by_job, unassigned_usd=bill.unassigned_usd)


@dataclass(kw_only=True)
class _Bill:
    """The sums for this queue. The job that was under way pays its machine."""

    queue: Queue
    prices: Mapping[str, float | None]
    by_job: dict[str, float] = field(default_factory=dict)
    unassigned_usd: float = 0.0

    def add(self, lease_end: EndedLease, jobs: Mapping[str, JobRecord]) -> str:
        """Count a lease with these jobs, and return the line about it; empty without a cost."""
        subject = f"{', '.join(jobs)}: the machine of the killed queue is gone"
        if lease_end.usd is None:
            return f"{subject}. Its cost is unknown: this computer has no record of its price.{self._bound(jobs)}"
        over = [one for one in jobs.values() if one.state is not JobState.RUNNING]
        # The earlier queue counted the end of a job without proof, but not yet the shares of a shared machine.
        usd = max(0.0, lease_end.usd - sum(one.usd for one in over if one.attempts == 1))
        own = {job.id for job in self.queue.jobs}
        running = [name for name, one in jobs.items() if one.state is JobState.RUNNING and name in own]
        if running:
            self.by_job[running[0]] = self.by_job.get(running[0], 0.0) + usd
        else:
            self.unassigned_usd += usd
        if not usd:
            return ""
        is_bound = lease_end.is_bound or any(one.usd and one.attempts > 1 for one in over)
        amount = f"{'at most' if is_bound else 'about'} {dollars(usd)}"
        return f"{subject}, and cost {amount}. This queue counts it{' in its budget' if self.queue.budget else ''}."

    def _bound(self, jobs: Mapping[str, JobRecord]) -> str:
        """Count an unknown cost against the budget with the most that it can be. Return the words about it."""
        if self.queue.budget is None:
            return ""
        most = [self.prices.get(name) for name in jobs]
        if None in most:
            return " The budget does not count it."
        usd = sum(filter(None, most))
        self.unassigned_usd += usd
        return f" The budget counts {dollars(usd)} for it, the most that its jobs may cost."


def _with_proof(record: JobRecord) -> JobRecord:
    """Return the record of an earlier job after the proof that its lease ended."""
    state = JobState.CANCELLED if record.state is JobState.RUNNING else record.state
    return replace(record, state=state, is_gone=True)
