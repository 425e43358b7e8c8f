"""What a provider itself says exists: the proof of a release, and the prey of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cvl_ci.model.outcome import Asked
from cvl_ci.model.plan import Place


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


class Found:
    """An inventory's answer: what is there, and who did not say. Only `read` gives it, and it gives both.

    `asked`: each question. `unproved`: clouds that nobody here can ask. `patience_seconds`: how long these providers
    may take until what they have begun to end is gone.
    """

    __slots__ = ("_resources", "asked", "patience_seconds", "unproved")

    def __init__(
        self,
        *,
        resources: Sequence[Resource] = (),
        asked: Sequence[Asked] = (),
        unproved: Sequence[str] = (),
        patience_seconds: float = 0.0,
    ) -> None:
        self._resources = tuple(resources)
        self.asked = tuple(asked)
        self.unproved = tuple(unproved)
        self.patience_seconds = patience_seconds

    def read(self) -> tuple[tuple[Resource, ...], tuple[str, ...]]:
        """Return what was shown, and who gave no whole answer, in words. Only without those is an absence proved.

        Nobody asked is silence too.
        """
        silent = [
            f"{one.provider} {one.region}".strip() + f": {one.error}" for one in self.asked if one.error is not None
        ]
        silent += [f"{cloud}: it cannot be asked from here" for cloud in self.unproved]
        if not self.asked and not self.unproved:
            silent.append("nobody was asked")
        return self._resources, tuple(silent)

    @property
    def may_still_answer(self) -> bool:
        """Somebody was asked and said nothing: another question may be answered. Who cannot be asked never will."""
        return any(one.error is not None for one in self.asked)

    def only(self, resources: Sequence[Resource]) -> Found:
        """Return the same answer with these of its resources alone: its silence stays."""
        return Found(
            resources=resources, asked=self.asked, unproved=self.unproved, patience_seconds=self.patience_seconds
        )


class Inventory(Protocol):
    """What the *provider* says exists; no state of SkyPilot is asked."""

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        """All that carries the lease's label or recomputable name there; lease None: all that is ours."""

    def remove(self, resources: Sequence[Resource]) -> None:
        """Ask the provider to end them. Absent is success; raises EngineError when it refuses."""

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None: ...
