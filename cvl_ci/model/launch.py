"""Hold the requests for machines, and the machines that exist. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request for machines. `error` None: the run got its machines here.

    `requested_at`, `ended_at`: epoch seconds of the request and of its failure; 0 and None where they are unknown.
    `machines`: how many came up although the attempt failed, as far as the engine knows. `is_bound`: an API server does
    not say which machine it requested, so price and machines are the most that they may have been.
    """

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    spot: bool
    hourly_usd: float
    error: str | None = None
    requested_at: float = 0.0
    ended_at: float | None = None
    machines: int = 0
    is_bound: bool = False
    copied_bytes: int = 0
    """Bytes of checkpoints that came from its machines during the job."""

    @property
    def where(self) -> str:
        return "/".join(part for part in (self.cloud, self.zone or self.region) if part)


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The facts of a run from which another process can compute its cost. `disk_gb`: of each machine."""

    attempts: tuple[Attempt, ...] = ()
    nodes: int = 1
    disk_gb: float = 0.0
    billed: bool = True

    @property
    def hourly_usd(self) -> float:
        """Return the price of all machines of the last attempt."""
        return self.attempts[-1].hourly_usd * self.nodes if self.attempts else 0.0


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Existing machines. `hourly_usd` is for one node; `created_at` is seconds since the epoch.

    `deadline`: the end that these machines have, in epoch seconds, where it may be earlier than that of their lease:
    max_cost buys less time of a dearer machine.
    """

    cluster: str
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    accelerators: Mapping[str, int | float]
    spot: bool
    num_nodes: int
    hourly_usd: float
    created_at: float
    deadline: float | None = None

    def end_before(self, deadline: float) -> float:
        """Return the end of the machines, under a lease with this deadline."""
        return deadline if self.deadline is None else min(deadline, self.deadline)
