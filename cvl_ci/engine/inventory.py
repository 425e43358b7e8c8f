"""What AWS itself says exists of ours, by label and by recomputable name: proof for a release, prey for a reaper.

No state of SkyPilot is asked. States after EC2's instance life cycle (AWS EC2 User Guide, "Instance lifecycle"):
`shutting-down` and `terminated` are not billed. Labels are set by SkyPilot on instances and their volumes
(sky/provision/aws/instance.py); the name tag is there on every instance it makes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from cvl_ci.errors import EngineError
from cvl_ci.ports import Found, Inventory, Resource
from cvl_ci.request.plan import Place
from cvl_ci.result.outcome import Asked

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

LEASE_LABEL = "cvl-ci-lease"
NAME_TAG = "skypilot-cluster-name"
LABELS = "cvl-ci-*"
KINDS = ("instances", "volumes", "spot requests", "addresses")
ALIVE = ["pending", "running", "shutting-down", "stopping", "stopped"]
PRICED = 100
"""Machines whose age and type are asked when all of ours are looked for."""
NAMES = "cvl-*-????????-????????"
"""A lease's name and SkyPilot's user hash: what looks like ours even where the labels are missing."""
BATCH = 500
"""Instances in one request: EC2 asks for "batches no larger than 1,000" (API reference, TerminateInstances)."""
_ENDING = {"shutting-down", "deleting", "deleted"}


class AwsInventory:
    """`client` makes an EC2 client for a region; `regions` lists those enabled in the account."""

    def __init__(
        self,
        *,
        client: Callable[[str], EC2Client],
        regions: Callable[[], Sequence[str]],
        provider: str = "aws",
    ) -> None:
        self._client = client
        self._regions = regions
        self._provider = provider

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        named = [place.region for place in places if place.region]
        open_ended = not places or any(place.region is None for place in places)
        regions = sorted(set(self._regions() if open_ended else []) | set(named))
        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = list(pool.map(lambda region: self._ask(region, lease), regions))
        return Found(
            resources=tuple(resource for resources, _ in answers for resource in resources),
            asked=tuple(asked for _, asked in answers),
        )

    def remove(self, resources: Sequence[Resource]) -> None:
        """One region's refusal does not keep the others waiting; all refusals are told together."""
        problems = []
        for region in sorted({resource.region for resource in resources}):
            here = [resource for resource in resources if resource.region == region and not resource.ending]
            problems += [f"{region}: {problem}" for problem in self._remove_in(region, here)]
        if problems:
            raise EngineError(
                "AWS refused to end what is ours: " + "; ".join(problems),
                money="It is still billed.",
                next_step="It is tried again until the deadline; then end it by hand.",
            )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        tags = [{"Key": name, "Value": text} for name, text in labels.items()]
        for region in sorted({resource.region for resource in resources}):
            ids = [resource.id for resource in resources if resource.region == region]
            try:
                self._client(region).create_tags(Resources=ids, Tags=tags)  # type: ignore[arg-type]
            except Exception as error:
                raise EngineError(f"AWS refused to label {', '.join(ids)} in {region}: {error}") from error

    def _remove_in(self, region: str, resources: Sequence[Resource]) -> Iterator[str]:
        client = self._client(region)
        endings: list[tuple[str, Callable[[list[str]], Any]]] = [
            ("spot requests", lambda ids: client.cancel_spot_instance_requests(SpotInstanceRequestIds=ids)),
            ("instances", lambda ids: client.terminate_instances(InstanceIds=ids)),
            ("addresses", lambda ids: client.release_address(AllocationId=ids[0])),
            ("volumes", lambda ids: client.delete_volume(VolumeId=ids[0])),
        ]
        for kind, end in endings:
            # A volume in use goes with its instance (DeleteOnTermination); only a loose one is ours to delete.
            ids = [each.id for each in resources if each.kind == kind and each.state != "in-use"]
            size = BATCH if kind in {"instances", "spot requests"} else 1
            for start in range(0, len(ids), size):
                yield from _ended(end, ids[start : start + size], kind)

    def _ask(self, region: str, lease: str | None) -> tuple[list[Resource], Asked]:
        try:
            client = self._client(region)
            every = self._all(client, region, lease) if lease else self._ours(client, region)
            found = {resource.id: resource for resource in every}
        except Exception as error:  # noqa: BLE001  whatever it is: not answered is not clean
            return [], Asked(provider=self._provider, region=region, kinds=KINDS, error=f"{error}"[:300])
        left = tuple(f"{each.id} ({each.state})" for each in found.values() if not each.ending)
        return list(found.values()), Asked(provider=self._provider, region=region, kinds=KINDS, left=left)

    def _all(self, client: EC2Client, region: str, lease: str) -> Iterator[Resource]:
        label = {"Name": f"tag:{LEASE_LABEL}", "Values": [lease]}
        name = {"Name": f"tag:{NAME_TAG}", "Values": [f"{lease}-*"]}
        for each in (label, name):
            yield from self._machines(client, region, Filters=[each, {"Name": "instance-state-name", "Values": ALIVE}])
        yield from self._besides(client, region, label)

    def _ours(self, client: EC2Client, region: str) -> Iterator[Resource]:
        """All of everybody's leases, from EC2's list of tags: in time that grows with what is ours, not with the rest.

        Of the first few the type and age are asked too, so that a leak has a price.
        """
        tags: dict[str, dict[str, str]] = {}
        wanted: list[dict[str, Any]] = [
            {"Name": "resource-type", "Values": ["instance"]},
            {"Name": "key", "Values": [LABELS, NAME_TAG]},
        ]
        for page in client.get_paginator("describe_tags").paginate(Filters=wanted):  # type: ignore[arg-type]
            for tag in page["Tags"]:
                tags.setdefault(tag["ResourceId"], {})[tag["Key"]] = tag["Value"]
        ours = [name for name, each in tags.items() if LEASE_LABEL in each or fnmatch(each.get(NAME_TAG, ""), NAMES)]
        states = self._states(client, ours)
        known = {each.id: each for each in self._priced(client, region, [name for name in ours if name in states])}
        for name in ours:
            if name in states:
                values = {"Tags": [{"Key": key, "Value": value} for key, value in tags[name].items()]}
                plain = self._resource(region, "instances", {**values, "id": name}, "id", states[name])
                yield known.get(name, plain)
        yield from self._besides(client, region, {"Name": "tag-key", "Values": [LEASE_LABEL]})

    def _states(self, client: EC2Client, ids: Sequence[str]) -> dict[str, str]:
        """Of those that are not over; one id that EC2 no longer knows would fail a question by ids."""
        wanted = set(ids)
        if not wanted:
            return {}
        alive = [{"Name": "instance-state-name", "Values": ALIVE}]
        pages = client.get_paginator("describe_instance_status").paginate(
            IncludeAllInstances=True,
            Filters=alive,  # type: ignore[arg-type]
        )
        states = {
            each["InstanceId"]: each["InstanceState"]["Name"] for page in pages for each in page["InstanceStatuses"]
        }
        return {name: state for name, state in states.items() if name in wanted and state in ALIVE}

    def _priced(self, client: EC2Client, region: str, ids: Sequence[str]) -> Iterator[Resource]:
        if ids:
            yield from self._machines(client, region, Filters=[{"Name": "instance-id", "Values": [*ids[:PRICED]]}])

    def _machines(self, client: EC2Client, region: str, **question: Any) -> Iterator[Resource]:
        for page in client.get_paginator("describe_instances").paginate(**question):
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    yield self._resource(region, "instances", instance, "InstanceId", instance["State"]["Name"])

    def _besides(self, client: EC2Client, region: str, label: dict[str, Any]) -> Iterator[Resource]:
        for volumes in client.get_paginator("describe_volumes").paginate(Filters=[label]):  # type: ignore[list-item]
            for volume in volumes["Volumes"]:
                yield self._resource(region, "volumes", volume, "VolumeId", volume["State"])
        waiting = {"Name": "state", "Values": ["open", "active"]}
        for request in client.describe_spot_instance_requests(Filters=[label, waiting])["SpotInstanceRequests"]:  # type: ignore[list-item]
            yield self._resource(region, "spot requests", request, "SpotInstanceRequestId", request["State"])
        for address in client.describe_addresses(Filters=[label])["Addresses"]:  # type: ignore[list-item]
            yield self._resource(region, "addresses", address, "AllocationId", "allocated")

    def _resource(self, region: str, kind: str, values: Mapping[str, Any], key: str, state: str) -> Resource:
        created = values.get("LaunchTime") or values.get("CreateTime")
        return Resource(
            provider=self._provider,
            region=region,
            kind=kind,
            id=values[key],
            state=state,
            labels={tag["Key"]: tag["Value"] for tag in values.get("Tags", [])},
            instance_type=values.get("InstanceType", ""),
            created_at=created.timestamp() if created else None,
            ending=state in _ENDING,
        )


def _ended(end: Callable[[list[str]], Any], ids: list[str], kind: str) -> Iterator[str]:
    """EC2 ends all of a request or none of it: the one that it refuses is looked for by halves."""
    try:
        end(ids)
    except Exception as error:  # noqa: BLE001  botocore makes its classes at run time, one per service
        if len(ids) > 1:
            half = len(ids) // 2
            yield from _ended(end, ids[:half], kind)
            yield from _ended(end, ids[half:], kind)
        elif ".NotFound" not in str(error):
            yield f"{kind} {ids[0]}: {error}"


class Inventories:
    """One inventory for several clouds. A cloud that nobody here can ask is named as unproved, never as clean."""

    def __init__(self, inventories: Mapping[str, Inventory]) -> None:
        self._inventories = inventories

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        clouds = list(dict.fromkeys(place.cloud for place in places)) or list(self._inventories)
        parts = [
            self._inventories[cloud].find(lease=lease, places=[place for place in places if place.cloud == cloud])
            for cloud in clouds
            if cloud in self._inventories
        ]
        return Found(
            resources=tuple(resource for part in parts for resource in part.resources),
            asked=tuple(asked for part in parts for asked in part.asked),
            unproved=tuple(cloud for cloud in clouds if cloud not in self._inventories),
        )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        for cloud in sorted({resource.provider for resource in resources}):
            if cloud not in self._inventories:
                raise EngineError(f"Nothing on {cloud} can be labelled from here.")
            self._inventories[cloud].label([each for each in resources if each.provider == cloud], labels)

    def remove(self, resources: Sequence[Resource]) -> None:
        for cloud, inventory in self._inventories.items():
            inventory.remove([resource for resource in resources if resource.provider == cloud])


def ec2_clients(
    *,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    endpoint_url: str | None = None,
) -> Callable[[str], EC2Client]:
    """EC2 clients by region; with keys given, nothing of the user's own AWS files is read for credentials."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(aws_access_key_id=access_key_id, aws_secret_access_key=secret_access_key)
    config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=20)
    clients: dict[str, EC2Client] = {}
    making = threading.Lock()  # a session makes one client at a time; clients themselves are thread-safe

    def client(region: str) -> EC2Client:
        with making:
            if region not in clients:
                clients[region] = session.client("ec2", region_name=region, endpoint_url=endpoint_url, config=config)
            return clients[region]

    return client


def account_regions(client: Callable[[str], EC2Client]) -> Callable[[], Sequence[str]]:
    """The regions enabled in this account, asked once."""

    def regions() -> Sequence[str]:
        answer = client("us-east-1").describe_regions(AllRegions=False)
        return sorted(region["RegionName"] for region in answer["Regions"])

    return regions
