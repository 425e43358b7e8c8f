"""Ask a SkyPilot API server about managed jobs: whether each is over, and its cluster gone, by its controller's word.

The proof names the server and never a provider. Unlike clusters, managed jobs are found without a name too: the labels
of their machines are in the server's table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cvl_ci.engine.managed_machines import ManagedMachines
from cvl_ci.engine.server_inventory import ServedInventory
from cvl_ci.errors import CvlError
from cvl_ci.model.lease_name import LABEL_LEASE, is_lease
from cvl_ci.model.location import MANAGED, Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import Inventory, InventoryResult, Resource, ResourceKind

KINDS = ("managed jobs", "requests for one")
_KIND_OF = {"managed job": ResourceKind.MANAGED_JOB, "launch": ResourceKind.LAUNCH}


class ManagedInventory(ServedInventory):
    """Inventory of the managed jobs of one server."""

    cloud = MANAGED

    def __init__(self, jobs: ManagedMachines, *, endpoint: str, aws: Inventory | None = None) -> None:
        super().__init__(jobs, endpoint=endpoint, aws=aws)
        self._jobs = jobs

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        elsewhere = tuple(dict.fromkeys(location.cloud for location in locations if location.cloud != MANAGED))
        if not any(location.cloud == MANAGED for location in locations):
            return InventoryResult(unproved=elsewhere or (MANAGED,))
        try:
            resources = tuple(self._resources(self._jobs.jobs_on_server(lease), lease=lease))
        except Exception as error:  # noqa: BLE001  on any error: a missing answer is not clean
            text = error.what if isinstance(error, CvlError) else f"{type(error).__name__}: {error}"[:300]
            check = ProviderCheck(provider=MANAGED, region=self._host, kinds=KINDS, error=text)
            return InventoryResult(asked=(check,), unproved=elsewhere)
        leftovers = tuple(f"{one.kind.value} {one.id} ({one.state})" for one in resources if lease is not None)
        check = ProviderCheck(provider=MANAGED, region=self._host, kinds=KINDS, leftovers=leftovers)
        return InventoryResult(resources=resources, asked=(check,), unproved=elsewhere)

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """Do nothing. The machines of a managed job have all labels from their birth, and the server changes none."""

    def _resources(self, answers: Sequence[Mapping[str, Any]], *, lease: str | None) -> Iterator[Resource]:
        """Yield the resources. Without a lease, those of a job whose name is a lease's."""
        for one in answers:
            name = lease or str(one.get("name", ""))
            if is_lease(name):
                yield Resource(
                    provider=MANAGED,
                    region=self._host,
                    kind=_KIND_OF[one["kind"]],
                    id=str(one["id"]),
                    state=str(one["state"]),
                    labels={**one["labels"], LABEL_LEASE: name},
                )
