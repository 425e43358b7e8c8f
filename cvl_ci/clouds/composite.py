"""One inventory for several clouds. A cloud that it cannot query counts as unproved, never as clean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cvl_ci.errors import CvlError, EngineError
from cvl_ci.model.ledger import Memory
from cvl_ci.model.location import Location
from cvl_ci.ports import Inventory, InventoryResult, Resource


class Inventories:
    """The inventories by cloud. `anywhere`: the clouds of a query that names no place; empty: all of them."""

    def __init__(self, inventories: Mapping[str, Inventory], *, anywhere: Collection[str] = ()) -> None:
        self._inventories = inventories
        self._anywhere = anywhere or tuple(inventories)

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        clouds = list(dict.fromkeys(location.cloud for location in locations)) or list(self._anywhere)
        parts = [
            self._inventories[cloud].find(
                lease=lease, locations=[location for location in locations if location.cloud == cloud]
            )
            for cloud in clouds
            if cloud in self._inventories
        ]
        unproved = [cloud for cloud in clouds if cloud not in self._inventories]
        unproved += [cloud for part in parts for cloud in part.unproved]
        return InventoryResult(
            resources=[resource for part in parts for resource in part.read()[0]],
            asked=tuple(check for part in parts for check in part.asked),
            unproved=unproved,
            patience_seconds=max((part.patience_seconds for part in parts), default=0.0),
        )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        for cloud in sorted({resource.provider for resource in resources}):
            if cloud not in self._inventories:
                raise EngineError(f"cvl-ci cannot change labels on {cloud}.")
            self._inventories[cloud].label([item for item in resources if item.provider == cloud], labels)

    def lives(self, *, lease: str, locations: Sequence[Location]) -> Memory:
        clouds = list(dict.fromkeys(location.cloud for location in locations)) or list(self._anywhere)
        parts = [
            self._inventories[cloud].lives(
                lease=lease, locations=[location for location in locations if location.cloud == cloud]
            )
            for cloud in clouds
            if cloud in self._inventories
        ]
        return Memory(
            lives=tuple(life for part in parts for life in part.lives),
            requested=tuple(life for part in parts for life in part.requested),
            clouds=frozenset(cloud for part in parts for cloud in part.clouds),
        )

    def remove(self, resources: Sequence[Resource]) -> None:
        """Remove the resources. A cloud's refusal does not delay the others. Raises one error for all refusals."""
        refused = []
        for cloud, inventory in self._inventories.items():
            of_cloud = [resource for resource in resources if resource.provider == cloud]
            try:
                if of_cloud:
                    inventory.remove(of_cloud)
            except CvlError as error:
                refused.append(error)
        if len(refused) == 1:
            raise refused[0]
        if refused:
            what = "\n".join(error.what for error in refused)
            raise EngineError(what, money=refused[0].money, next_step=refused[0].next_step)
