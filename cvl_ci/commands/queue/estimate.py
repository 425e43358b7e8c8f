"""Estimate a queue in a few lines: the price and the bounds of each of its machines, and of all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.plan.estimate import Estimate
from cvl_ci.commands.queue import machines
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.queue import Queue
from cvl_ci.ports import Prices
from cvl_ci.result.units import dollars


@dataclass(frozen=True, kw_only=True)
class QueueEstimate:
    """The estimate of each machine, by the names of its jobs, and the most that each job's further attempts cost."""

    queue: Queue
    machines: Mapping[tuple[str, ...], Estimate]
    retries: Mapping[str, float | None]

    @property
    def max_usd(self) -> float | None:
        """Return the most that all machines cost without a further attempt. None: a price is not known."""
        return _sum(one.max_usd for one in self.machines.values())

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines of `--estimate-cost`."""
        jobs = [line for names, one in self.machines.items() for line in (f"{', '.join(names)}:", *_indented(one))]
        warnings = dict.fromkeys(text for one in self.machines.values() for text in one.quote.warnings)
        return (*jobs, *self._total(), *warnings)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _total(self) -> list[str]:
        count, budget = len(self.machines), self.queue.budget
        on = f"{len(self.queue.jobs)} jobs on {count} machine{'' if count == 1 else 's'}"
        if self.max_usd is None:
            lines = [f"Estimated cost: unknown for {on}, because a price is not known"]
        else:
            lines = [f"Estimated cost: at most {dollars(self.max_usd)} for {on}"]
        if self.retries:
            extra = _sum(self.retries.values())
            most = "an unknown sum" if extra is None else f"up to {dollars(extra)}"
            lines.append(f"Further attempts of {', '.join(self.retries)}: {most} more")
        if any(len(names) > 1 for names in self.machines):
            lines.append("A job that runs again because its machine was lost is not in this.")
        if budget is not None:
            lines.append(f"The budget of {dollars(budget)} starts no job that the rest of it cannot pay.")
        return lines


def estimate(queue: Queue, plans: Mapping[str, RunPlan], prices: Prices) -> QueueEstimate:
    """Return the estimate. A machine that several jobs share has the sum of their limits, as when it starts."""
    by_machine: dict[str, list[str]] = {}
    for job in queue.jobs:
        by_machine.setdefault(f"key {job.machine}" if job.machine else f"job {job.id}", []).append(job.id)
    estimates = {}
    for names in by_machine.values():
        own = [plans[name] for name in names]
        plan = replace(own[0], limits=machines.limits(own)) if len(own) > 1 else own[0]
        estimates[tuple(names)] = Estimate(plan=plan, quote=quoting.quote(plan, prices))
    retries: dict[str, float | None] = {}
    for job in queue.jobs:
        if job.retry.on:
            usd = quoting.quote(plans[job.id], prices).max_usd
            retries[job.id] = None if usd is None else usd * job.retry.limit
    return QueueEstimate(queue=queue, machines=estimates, retries=retries)


def _indented(one: Estimate) -> list[str]:
    return [f"  {line}" for line in one.lines if line not in one.quote.warnings]


def _sum(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total
