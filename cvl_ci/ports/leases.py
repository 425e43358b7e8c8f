"""What outlives a process of a lease: its record and its fence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.plan import Place


@dataclass(frozen=True, kw_only=True)
class LeaseRecord:
    """What is written down before anything is created: enough to find and end it from nothing else."""

    name: str
    labels: Mapping[str, str]
    deadline: float
    places: tuple[Place, ...]
    taken_at: float
    released_at: float | None = None
    regions: tuple[str, ...] = ()
    """cloud/region of every attempt so far."""


class Records(Protocol):
    """Lease records that outlive this process: files under HOME."""

    def write(self, record: LeaseRecord) -> None: ...

    def read(self, name: str) -> LeaseRecord | None: ...

    def all(self) -> Iterator[LeaseRecord]: ...

    def fence(self, name: str) -> Path:
        """Where the fence of this lease is: revoked when the file exists."""

    def revoke(self, name: str) -> None: ...
