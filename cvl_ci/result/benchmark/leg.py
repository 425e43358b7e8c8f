"""Hold one leg of a matrix: its work, its machines, its end and its metrics. Values only."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from cvl_ci.model.fitness import GpuState
from cvl_ci.model.outcome import Ending, Measurements
from cvl_ci.result.benchmark.sides import numbers_of

_ATTEMPT = re.compile(r"/attempts/([0-9]{1,9})$")


@dataclass(frozen=True, kw_only=True)
class LegKey:
    """Parts that must be equal before numbers may be compared.

    Empty, or 0 nodes: the summary does not name the part.
    """

    example: str
    preset: str = ""
    accelerator: str = ""
    cloud: str = ""
    instance_type: str = ""
    nodes: int = 0
    spot: bool = False
    driver: str = ""
    image: str = ""
    warm: bool = False
    """An earlier run used the machine before: its caches are warm."""
    gpus: tuple[GpuState, ...] = field(default=(), compare=False)
    """The GPUs by their identity. Numbers of other GPUs of the same kind may be compared."""

    @property
    def place(self) -> str:
        """`aws L4:1 g6.xlarge 2 nodes spot warm`."""
        return self.place_of()

    def place_of(self, uses: Collection[int] = ()) -> str:
        """Return the place, where it is warm with the uses of its machines: `warm (use 3)`, `warm (uses 2 to 5)`."""
        words_of_uses = f"uses {min(uses)} to {max(uses)}" if len({*uses}) > 1 else f"use {max(uses, default=0)}"
        nodes = f"{self.nodes} nodes" if self.nodes > 1 else ""
        spot = "spot" if self.spot else ""
        warm = (f"warm ({words_of_uses})" if uses else "warm") if self.warm else ""
        words = (self.cloud, self.accelerator or "CPU", self.instance_type, nodes, spot, warm, self.driver, self.image)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The cause of a failed job: the line that names its error, its last lines, the artifact with its whole log."""

    first_error: str = ""
    last_lines: tuple[str, ...] = ()
    artifact_url: str = ""


@dataclass(frozen=True, kw_only=True)
class LegSource:
    """The commit and the workflow's job that the leg ran in. `at`: epoch seconds, 0 if the summary has no time."""

    commit: str = ""
    run_url: str = ""
    job: str = ""
    """The workflow's job, as GitHub names it without a `name:` in the workflow."""
    workflow: str = ""
    """The name of the workflow; of one without a name, its path."""
    check_run: str = ""
    """GitHub's number of that job in its attempt."""
    at: float = 0.0
    is_sweep: bool = False
    """A sweep tells what the lease left behind. It knows neither the end of the run, nor its whole cost."""

    @property
    def job_url(self) -> str:
        """Return the page of the job that wrote this, or of its run where the job's number is unknown."""
        run = _ATTEMPT.sub("", self.run_url)
        return f"{run}/job/{self.check_run}" if self.run_url and self.check_run else self.run_url

    @property
    def attempt(self) -> int:
        """Return the attempt of the workflow's run. A run that names none was the first."""
        number = _ATTEMPT.search(self.run_url)
        return int(number[1]) if number else 1


@dataclass(frozen=True, kw_only=True)
class LegMachines:
    """The machines of a leg. `cluster`: the name of its lease. `region`: empty without a launch."""

    cluster: str = ""
    use: int = 1
    """The number of this run among those that used the same machines in turn, under one lease."""
    region: str = ""
    requested_locations: tuple[str, ...] = ()
    """Places of the requested machines: only these identify a leg that never started."""
    errors: str = ""
    """All texts of providers and of the reason about a failed start, for a search and not for display."""
    is_dearer: bool = False
    """A provider refused the first requested machine, and the run got a more expensive one."""
    recoveries: int | None = None
    """How many lost machines a new one replaced. None: the summary does not know it."""
    is_gone: bool = True
    kept_until: float = 0.0
    """The moment until which a person keeps the machines, in epoch seconds. 0: no person does."""

    @property
    def run(self) -> str:
        """Return the name of the run: that of its lease, and for a later use of its machines the number too."""
        return f"{self.cluster}#{self.use}" if self.cluster and self.use > 1 else self.cluster

    @property
    def may_be_left(self) -> bool:
        """Return whether the machines may cost money that no person wanted."""
        return not self.is_gone and not self.kept_until


@dataclass(frozen=True, kw_only=True)
class LegCost:
    """The cost of a leg. None: unknown. `hourly_usd`: of all nodes; the second one is the price without spot."""

    usd: float | None = None
    kept_usd: float = 0.0
    """The part of `usd` that kept machines may still cost."""
    waited_usd: float = 0.0
    """The cost of the machines' wait before this run, which the run before counts."""
    uncounted_usd: float = 0.0
    """The cost of an earlier machine, which a killed run used: it is not in `usd`, and no other run counts it."""
    hourly_usd: float | None = None
    on_demand_hourly_usd: float | None = None
    billed: bool = True

    @property
    def usd_so_far(self) -> float | None:
        """Return the cost until the summary was written, and so without the time for which a person keeps machines."""
        return None if self.usd is None else max(self.usd - self.kept_usd, 0.0)

    @property
    def spent_usd(self) -> float:
        """Return the dollars that the sums over time count for this run."""
        return (self.usd_so_far or 0.0) + self.uncounted_usd


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One leg.

    `measurements`: the example's own metrics, and those that every run has (`time.running`, `cost_usd`).
    """

    key: LegKey
    ending: Ending
    reason: str
    exit_code: int
    name: str = ""
    seconds: float = 0.0
    source: LegSource = field(default_factory=LegSource)
    machines: LegMachines = field(default_factory=LegMachines)
    cost: LegCost = field(default_factory=LegCost)
    measurements: Measurements = field(default_factory=Measurements)
    evidence: Evidence = field(default_factory=Evidence)

    def measured(self, name: str) -> tuple[float, ...]:
        """Return all samples of a metric, or its one value if it has no samples."""
        return numbers_of(name, self.measurements)
