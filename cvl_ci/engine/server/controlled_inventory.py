"""Ask a SkyPilot API server about its own controllers' work: whether it is over and its machines gone, by their word.

The work is managed jobs, or services with several replicas. The proof names the server and never a provider. Unlike
clusters, such work is found without a name too: its task has the labels of the lease, and the server shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.engine.server.server_inventory import ServedInventory
from cvl_ci.model.location import MANAGED, REPLICATED
from cvl_ci.ports import Inventory, Resource

KINDS = {MANAGED: ("managed jobs", "requests for one"), REPLICATED: ("services", "their machines", "requests for one")}


class ControlledInventory(ServedInventory):
    """Inventory of one kind of work of one server's controllers. `cloud`: MANAGED or REPLICATED."""

    finds_without_name = True

    def __init__(self, machines: SkyPilotMachines, *, cloud: str, endpoint: str, aws: Inventory | None = None) -> None:
        super().__init__(machines, endpoint=endpoint, aws=aws)
        self.cloud = self.provider = cloud
        self.kinds = KINDS[cloud]

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """Do nothing. The machines have all labels from their birth, and the server changes none."""
