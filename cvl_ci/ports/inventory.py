"""What a provider itself says exists: the proof of a release, and the prey of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cvl_ci.request.plan import Place
from cvl_ci.result.outcome import Asked


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Something a provider bills or keeps. `created_at`, `gone_at`: seconds since the epoch, where it says so."""

    provider: str
    region: str
    kind: str
    id: str
    state: str
    labels: Mapping[str, str]
    instance_type: str = ""
    created_at: float | None = None
    ending: bool = False  # the provider has accepted its end and bills it no more (AWS: shutting-down, deleting)


@dataclass(frozen=True, kw_only=True)
class Found:
    resources: tuple[Resource, ...] = ()
    asked: tuple[Asked, ...] = ()
    unproved: tuple[str, ...] = ()
    patience_seconds: float = 0.0  # how long these providers may take until what they have begun to end is gone


class Inventory(Protocol):
    """What the *provider* says exists; no state of SkyPilot is asked."""

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        """All that carries the lease's label or recomputable name there; lease None: all that is ours."""

    def remove(self, resources: Sequence[Resource]) -> None:
        """Ask the provider to end them. Absent is success; raises EngineError when it refuses."""

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None: ...
