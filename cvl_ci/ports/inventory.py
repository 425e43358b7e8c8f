"""The provider's own list of resources: proof for a release, work for a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from cvl_ci.model.ledger import Memory
from cvl_ci.model.location import Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.model.resource import Resource


class InventoryResult:
    """The answer of an inventory: resources, and scopes without an answer. `read` returns both together.

    `asked`: one entry a query. `unproved`: clouds that this process cannot query. `patience_seconds`: the longest time
    that these providers need until an ending resource no longer exists.
    """

    __slots__ = ("_resources", "asked", "patience_seconds", "unproved")

    def __init__(
        self,
        *,
        resources: Sequence[Resource] = (),
        asked: Sequence[ProviderCheck] = (),
        unproved: Sequence[str] = (),
        patience_seconds: float = 0.0,
    ) -> None:
        self._resources = tuple(resources)
        self.asked = tuple(asked)
        self.unproved = tuple(unproved)
        self.patience_seconds = patience_seconds

    def read(self) -> tuple[tuple[Resource, ...], tuple[str, ...]]:
        """Return the resources, and the scopes without a full answer, in words. Absence is proved only without those.

        An answer without any query is silence too.
        """
        silent = [
            f"{one.provider} {one.region}".strip() + f": {one.error}" for one in self.asked if one.error is not None
        ]
        silent += [f"{cloud}: this computer cannot query it" for cloud in self.unproved]
        if not self.asked and not self.unproved:
            silent.append("there was no query")
        return self._resources, tuple(silent)

    @property
    def may_still_answer(self) -> bool:
        """Return whether another query may bring a missing answer.

        A cloud that this process cannot query never answers, nor does a cloud that denies the right to ask.
        """
        return any(one.error is not None and not one.is_final for one in self.asked)

    def only(self, resources: Sequence[Resource]) -> InventoryResult:
        """Return the same answer with only these resources. Its missing answers stay."""
        return InventoryResult(
            resources=resources, asked=self.asked, unproved=self.unproved, patience_seconds=self.patience_seconds
        )

    def joined(self, other: InventoryResult) -> InventoryResult:
        """Return both answers as one. A resource that both list appears once."""
        by_id = {(one.provider, one.kind, one.id): one for one in (*self._resources, *other.read()[0])}
        return InventoryResult(
            resources=tuple(by_id.values()),
            asked=(*self.asked, *other.asked),
            unproved=(*self.unproved, *other.unproved),
            patience_seconds=max(self.patience_seconds, other.patience_seconds),
        )


class Inventory(Protocol):
    """The resources that the *provider* reports. SkyPilot's state is not a source."""

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        """Return all resources with the lease's label or recomputable name. `lease` None: all resources of cvl-ci."""

    def remove(self, resources: Sequence[Resource]) -> None:
        """Ask the provider to remove resources of one kind or several. Absence is a success.

        Raises EngineError for a refusal.
        """

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None: ...

    def lives(self, *, lease: str, locations: Sequence[Location]) -> Memory:
        """Return the lives of the lease's machines, ended ones too, as far as the provider remembers them.

        Raises on any error.
        """
