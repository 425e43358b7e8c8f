"""The parts of a lease that outlive a process: its record and its fence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import Detached
from cvl_ci.model.launch import Spending
from cvl_ci.model.location import MANAGED, Location
from cvl_ci.model.storage import Bucket


@dataclass(frozen=True, kw_only=True)
class LeaseRecord:
    """The record of a lease, written before anything is created. It alone is enough to find and end everything."""

    name: str
    labels: Mapping[str, str]
    deadline: float
    locations: tuple[Location, ...]
    taken_at: float
    released_at: float | None = None
    regions: tuple[str, ...] = ()
    """cloud/region of each attempt so far."""
    buckets: tuple[Bucket, ...] = ()
    """The buckets that the run was about to make."""
    knows_buckets: bool = True
    """False: the run's own record is lost, so only the provider can tell its buckets, by their labels."""
    checkpoints: BucketAddress | None = None
    """The folder in which the machines store checkpoints. It outlives the lease."""
    is_cancelled: bool = False
    """Whether a person took it down (`cvl-ci down`). Otherwise a lost machine is infrastructure."""
    detached: Detached | None = None
    """The facts for the end of a run that left its machine alone with the job."""

    @property
    def is_managed(self) -> bool:
        """Return whether it is of a managed job, whose machines the controller of an API server launches."""
        return any(location.cloud == MANAGED for location in self.locations)


class KeyLock(Protocol):
    """The lock of a key, held by this process. The kernel frees it when the process dies."""

    def release(self) -> None: ...


class KeyLocks(Protocol):
    """One user at a time for the machine of a key, among the processes with these records."""

    def acquire(self, key: str) -> KeyLock | None:
        """Take the lock of a key. None: another process holds it. Raises EngineError."""


class Records(Protocol):
    """Lease records that outlive this process: files below HOME."""

    def write(self, record: LeaseRecord) -> None: ...

    def read(self, name: str) -> LeaseRecord | None: ...

    def all(self) -> Iterator[LeaseRecord]: ...

    def fence(self, name: str) -> Path:
        """Return the path of this lease's fence. The lease is revoked while the file exists."""

    def revoke(self, name: str) -> None: ...

    def note_spending(self, name: str, spending: Spending) -> None:
        """Record the requests of a lease, with their prices. The lease itself does not depend on them."""

    def spending(self, name: str) -> Spending | None:
        """Return the recorded requests of a lease. None: its record has no prices, so its cost is unknown."""
