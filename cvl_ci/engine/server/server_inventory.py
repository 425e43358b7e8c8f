"""Ask a SkyPilot API server which resources exist, after it has asked the cloud again.

A run through a server has no other source. The server holds the credentials. The proof names the server and never a
provider. It is proof only for a lease that went through it: the server knows no other lease, so its silence proves
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.errors import CredentialsError, CvlError, EngineError
from cvl_ci.model.lease_name import LABEL_LEASE, is_lease
from cvl_ci.model.ledger import Life, Memory
from cvl_ci.model.location import MANAGED, REPLICATED, Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import Inventory, InventoryResult, Resource, ResourceKind

PROVIDER = "SkyPilot API server"
CLOUD = "api-server"
"""The cloud in the record of a lease that goes through a server."""
KINDS = ("clusters", "launches under way")
_AWS_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+){1,2}-\d")
_KIND_OF = {
    "cluster": ResourceKind.CLUSTER,
    "launch": ResourceKind.LAUNCH,
    "managed job": ResourceKind.MANAGED_JOB,
    "service": ResourceKind.SERVICE_CONTROLLER,
}
"""By the words of the worker: sky_server.py, sky_managed.py and sky_serve.py, `exists`."""
ADDRESS = "SKYPILOT_API_SERVER_ENDPOINT"


def is_managed(locations: Sequence[Location]) -> bool:
    """Return whether a lease is of a managed job, by its record."""
    return any(location.cloud == MANAGED for location in locations)


def has_replicas(locations: Sequence[Location]) -> bool:
    """Return whether a lease is of a service with several replicas, by its record."""
    return any(location.cloud == REPLICATED for location in locations)


def goes_through(locations: Sequence[Location], environ: Mapping[str, str], *, by_record: bool) -> bool:
    """Return whether a lease goes through the server.

    The record of an existing lease decides. A new run goes through the server whose address is set.
    """
    return any(location.cloud == CLOUD for location in locations) or bool(environ.get(ADDRESS) and not by_record)


def address(environ: Mapping[str, str]) -> str:
    if not environ.get(ADDRESS):
        raise CredentialsError(
            "This run went through a SkyPilot API server, but neither its address nor a token is set.",
            money="Its machine may still be running. Only that server or the cloud's own console can end it.",
            next_step=f"Set {ADDRESS} and SKYPILOT_SERVICE_ACCOUNT_TOKEN, and run this again.",
        )
    return environ[ADDRESS]


class ServedInventory:
    """Inventory of one server. `endpoint`: only its host is ever shown, because an address may hold a password.

    `aws`: AWS itself, where this computer has keys too. It only dates machines, and proves nothing.
    """

    cloud, provider = CLOUD, PROVIDER
    kinds: tuple[str, ...] = KINDS
    finds_without_name = False

    def __init__(self, machines: SkyPilotMachines, *, endpoint: str, aws: Inventory | None = None) -> None:
        self._machines, self._aws = machines, aws
        self._host = urlsplit(endpoint).hostname or "?"

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        elsewhere = tuple(dict.fromkeys(location.cloud for location in locations if location.cloud != self.cloud))
        is_here = any(location.cloud == self.cloud for location in locations)
        if not is_here or (lease is None and not self.finds_without_name):
            return InventoryResult(unproved=elsewhere or (self.provider,))
        try:
            resources = tuple(self._resources(lease))
        except Exception as error:  # noqa: BLE001  on any error: a missing answer is not clean
            text = error.what if isinstance(error, CvlError) else f"{type(error).__name__}: {error}"[:300]
            check = ProviderCheck(provider=self.provider, region=self._host, kinds=self.kinds, error=text)
            return InventoryResult(asked=(check,), unproved=elsewhere)
        leftovers = tuple(f"{one.kind.value} {one.id} ({one.state})" for one in resources if lease is not None)
        check = ProviderCheck(provider=self.provider, region=self._host, kinds=self.kinds, leftovers=leftovers)
        return InventoryResult(resources=resources, asked=(check,), unproved=elsewhere)

    def _resources(self, lease: str | None) -> Iterator[Resource]:
        """Yield the resources of a lease. Without one, those whose name is a lease's."""
        for one in self._machines.on_server(lease):
            name = lease or str(one.get("name", ""))
            if lease or is_lease(name):
                yield Resource(
                    provider=self.provider,
                    region=self._host,
                    kind=_KIND_OF[one["kind"]],
                    id=str(one["id"]),
                    state=str(one["state"]),
                    labels={**one.get("labels", {}), LABEL_LEASE: name},
                )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """Raise EngineError.

        A reaper that asks the cloud itself would trust labels that cvl-ci cannot change through a server.
        """
        raise EngineError("A SkyPilot API server cannot change the labels of a machine.")

    def lives(self, *, lease: str, locations: Sequence[Location]) -> Memory:
        """Return the machines in the server's records, whose dates are those of the server's clock.

        The server keeps only the last place of each launch, so an absent machine proves nothing. Where AWS shows a
        machine, its own dates replace those of the record, and it tells whether it took a spot machine away.
        """
        records = self._machines.recorded_on_server(lease)
        recorded = Memory(
            lives=tuple(
                _life(record, f"{lease}/{number}/{rank}")
                for number, record in enumerate(records)
                for rank in range(record["nodes"] if record["came_up"] else 0)
            ),
            requested=tuple(_life(record, f"{lease}/{number}") for number, record in enumerate(records)),
        )
        places = [*locations, *(Location(cloud=one["cloud"], region=one["region"]) for one in records)]
        return recorded.dated_by(self._lives_on_aws(lease, places))

    def _lives_on_aws(self, lease: str, places: Sequence[Location]) -> Sequence[Life]:
        """Return the machines of the lease that AWS shows with these keys. Without an answer, the record stands."""
        regions = {place.region for place in places if place.cloud in {self.cloud, "aws"} and place.region}
        clouds = [Location(cloud="aws", region=region) for region in sorted(regions) if _AWS_REGION.fullmatch(region)]
        if self._aws is None or not clouds:
            return ()
        try:
            return self._aws.lives(lease=lease, locations=clouds).lives
        except Exception:  # noqa: BLE001  these keys may be of another account, or lack the right to look
            return ()

    def remove(self, resources: Sequence[Resource]) -> None:
        """Take the clusters down, which first ends launches under way."""
        for cluster in dict.fromkeys(resource.labels[LABEL_LEASE] for resource in resources):
            self._machines.down(cluster)


def _life(record: Mapping[str, Any], name: str) -> Life:
    return Life(
        id=name,
        cloud=record["cloud"],
        region=record["region"],
        instance_type=record["instance_type"],
        spot=record["spot"],
        start=record["start"],
        end=record["end"],
        is_gone=record["end"] is not None,
        is_recorded=True,
        slack_seconds=record["slack"],
        hourly_usd=record["hourly_usd"],
    )
