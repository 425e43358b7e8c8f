"""One inventory for several clouds. A cloud that nobody here can ask is named as unproved, never as clean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cvl_ci.errors import CvlError, EngineError
from cvl_ci.model.plan import Place
from cvl_ci.ports import Found, Inventory, Resource


class Inventories:
    """`anywhere`: which are asked when a question names no place; none given: all."""

    def __init__(self, inventories: Mapping[str, Inventory], *, anywhere: Collection[str] = ()) -> None:
        self._inventories = inventories
        self._anywhere = anywhere or tuple(inventories)

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        clouds = list(dict.fromkeys(place.cloud for place in places)) or list(self._anywhere)
        parts = [
            self._inventories[cloud].find(lease=lease, places=[place for place in places if place.cloud == cloud])
            for cloud in clouds
            if cloud in self._inventories
        ]
        unproved = [cloud for cloud in clouds if cloud not in self._inventories]
        unproved += [cloud for part in parts for cloud in part.unproved]
        return Found(
            resources=[resource for part in parts for resource in part.read()[0]],
            asked=tuple(asked for part in parts for asked in part.asked),
            unproved=unproved,
            patience_seconds=max((part.patience_seconds for part in parts), default=0.0),
        )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        for cloud in sorted({resource.provider for resource in resources}):
            if cloud not in self._inventories:
                raise EngineError(f"Nothing on {cloud} can be labelled from here.")
            self._inventories[cloud].label([each for each in resources if each.provider == cloud], labels)

    def remove(self, resources: Sequence[Resource]) -> None:
        """One cloud's refusal keeps no other waiting."""
        refused = []
        for cloud, inventory in self._inventories.items():
            here = [resource for resource in resources if resource.provider == cloud]
            try:
                if here:
                    inventory.remove(here)
            except CvlError as error:
                refused.append(error)
        if len(refused) == 1:
            raise refused[0]
        if refused:
            what = "\n".join(error.what for error in refused)
            raise EngineError(what, money=refused[0].money, next_step=refused[0].next_step)
