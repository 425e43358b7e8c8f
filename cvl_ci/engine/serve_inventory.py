"""Ask a SkyPilot API server about services with several replicas: whether each is gone, with its machines.

The proof names the server and never a provider. Services are found without a name too: the labels of the lease are in
their task, which the controller shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cvl_ci.engine.serve_machines import ReplicaMachines
from cvl_ci.engine.server_inventory import ServedInventory
from cvl_ci.errors import CvlError
from cvl_ci.model.lease_name import LABEL_LEASE, is_lease
from cvl_ci.model.location import REPLICATED, Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import Inventory, InventoryResult, Resource, ResourceKind

KINDS = ("services", "their machines", "requests for one")
_KIND_OF = {
    "service": ResourceKind.SERVICE_CONTROLLER,
    "cluster": ResourceKind.CLUSTER,
    "launch": ResourceKind.LAUNCH,
}


class ReplicaInventory(ServedInventory):
    """Inventory of the services of one server."""

    cloud = REPLICATED

    def __init__(self, services: ReplicaMachines, *, endpoint: str, aws: Inventory | None = None) -> None:
        super().__init__(services, endpoint=endpoint, aws=aws)
        self._services = services

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        elsewhere = tuple(dict.fromkeys(location.cloud for location in locations if location.cloud != REPLICATED))
        if not any(location.cloud == REPLICATED for location in locations):
            return InventoryResult(unproved=elsewhere or (REPLICATED,))
        try:
            resources = tuple(self._resources(self._services.services_on_server(lease), lease=lease))
        except Exception as error:  # noqa: BLE001  on any error: a missing answer is not clean
            text = error.what if isinstance(error, CvlError) else f"{type(error).__name__}: {error}"[:300]
            check = ProviderCheck(provider=REPLICATED, region=self._host, kinds=KINDS, error=text)
            return InventoryResult(asked=(check,), unproved=elsewhere)
        leftovers = tuple(f"{one.kind.value} {one.id} ({one.state})" for one in resources if lease is not None)
        check = ProviderCheck(provider=REPLICATED, region=self._host, kinds=KINDS, leftovers=leftovers)
        return InventoryResult(resources=resources, asked=(check,), unproved=elsewhere)

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """Do nothing. The replicas have all labels from their birth, and the server changes none."""

    def _resources(self, answers: Sequence[Mapping[str, Any]], *, lease: str | None) -> Iterator[Resource]:
        """Yield the resources. Without a lease, the services whose name is a lease's."""
        for one in answers:
            name = lease or str(one.get("name", ""))
            if is_lease(name):
                yield Resource(
                    provider=REPLICATED,
                    region=self._host,
                    kind=_KIND_OF[one["kind"]],
                    id=str(one["id"]),
                    state=str(one["state"]),
                    labels={**one["labels"], LABEL_LEASE: name},
                )
