"""What AWS itself says exists of ours, by label and by recomputable name: proof for a release, prey for a reaper.

States after EC2's instance life cycle (AWS EC2 User Guide, "Instance lifecycle"): `shutting-down` and `terminated` are
not billed. Labels are set by SkyPilot on instances and their volumes (sky/provision/aws/instance.py); the name tag is
there on every instance it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from cvl_ci.clouds.aws import queries
from cvl_ci.errors import EngineError
from cvl_ci.model.outcome import Asked
from cvl_ci.model.plan import Place
from cvl_ci.ports import Found, Resource

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

BATCH = 500
"""Instances in one request: EC2 asks for "batches no larger than 1,000" (API reference, TerminateInstances)."""

_IDS = {
    "instances": "InstanceId",
    "volumes": "VolumeId",
    "spot requests": "SpotInstanceRequestId",
    "addresses": "AllocationId",
}
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
        try:
            regions = sorted(set(self._regions() if open_ended else []) | set(named))
        except Exception as error:  # noqa: BLE001  not knowing where to look is not clean
            said = f"which regions there are: {error}"[:300]
            return Found(asked=(Asked(provider=self._provider, region="", kinds=queries.KINDS, error=said),))
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
        kinds: tuple[str, ...] = queries.KINDS
        try:
            client = self._client(region)
            every = list(queries.of_lease(client, lease) if lease else queries.of_everybody(client))
            extra, why = _extra(client, lease)
        except Exception as error:  # noqa: BLE001  whatever it is: not answered is not clean
            return [], Asked(provider=self._provider, region=region, kinds=kinds, error=f"{error}"[:300])
        found = {each.id: each for each in (self._resource(region, kind, raw) for kind, raw in (*every, *extra))}
        left = tuple(f"{each.id} ({each.state})" for each in found.values() if not each.ending)
        kinds = kinds if why else (*kinds, queries.EXTRA)
        return list(found.values()), Asked(provider=self._provider, region=region, kinds=kinds, left=left, skipped=why)

    def _resource(self, region: str, kind: str, raw: Mapping[str, Any]) -> Resource:
        created, state = raw.get("LaunchTime") or raw.get("CreateTime"), raw.get("State", "allocated")
        state = state["Name"] if isinstance(state, Mapping) else state
        return Resource(
            provider=self._provider,
            region=region,
            kind=kind,
            id=raw[_IDS[kind]],
            state=state,
            labels={tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])},
            instance_type=raw.get("InstanceType", ""),
            created_at=created.timestamp() if created else None,
            ending=state in _ENDING,
        )


def _extra(client: EC2Client, lease: str | None) -> tuple[list[queries.Raw], tuple[str, ...]]:
    """What no run makes, and why it was not looked at where these credentials may not."""
    try:
        return list(queries.addresses(client, lease)), ()
    except Exception as error:
        if not queries.denied(error):
            raise
        return [], (f"{queries.EXTRA} (these credentials may not; no run makes one)",)


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
