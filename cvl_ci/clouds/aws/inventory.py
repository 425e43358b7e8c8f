"""AWS's own list of our resources, by label and by recomputable name: proof for a release, work for a reaper.

States after EC2's instance life cycle (AWS EC2 User Guide, "Instance lifecycle"): AWS does not bill `shutting-down`
and `terminated`. SkyPilot labels instances and their volumes (sky/provision/aws/instance.py). Each instance that it
makes has the name tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cvl_ci.clouds.aws import queries
from cvl_ci.clouds.aws.buckets import KINDS as BUCKET_KINDS
from cvl_ci.clouds.aws.buckets import AwsBuckets, Unanswered, labelled_or_unanswered
from cvl_ci.clouds.aws.clients import account_regions, service_clients
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import LABEL_LEASE
from cvl_ci.model.ledger import Life, Memory
from cvl_ci.model.location import Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.model.resource import Pricing
from cvl_ci.ports import Inventory, InventoryResult, Resource, ResourceKind

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

BATCH = 500
"""Instances in one request: EC2 wants "batches no larger than 1,000" (API reference, TerminateInstances)."""

_IDS = {
    "instances": "InstanceId",
    "volumes": "VolumeId",
    "spot requests": "SpotInstanceRequestId",
    "addresses": "AllocationId",
    queries.GROUPS: "GroupId",
}
_KINDS = {
    "instances": ResourceKind.MACHINE,
    "volumes": ResourceKind.DISK,
    "spot requests": ResourceKind.SPOT_REQUEST,
    "addresses": ResourceKind.ADDRESS,
    queries.GROUPS: ResourceKind.SECURITY_GROUP,
}
_IN_USE = "DependencyViolation"
"""EC2's answer about a group whose machine has not ended yet. The next round asks again."""
GROUP_PATIENCE_SECONDS = 600.0
"""Seconds for a group whose machine is shutting down: EC2 ends large GPU machines slowly, and a group after them."""
_STATES = {"addresses": "allocated", queries.GROUPS: "open"}
"""The states of kinds for which EC2 gives none."""
_ENDED = {"shutting-down", "terminated"}
_ENDED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
"""EC2 dates an end that a user requested: `User initiated (2026-11-29 06:47:12 GMT)`."""
_ENDING = {"shutting-down", "deleting", "deleted"}


class AwsInventory:
    """The inventory of AWS. `client` makes an EC2 client for a region; `regions` lists those enabled in the account.

    `user_id`: the owner's, to name the security group that all runs of a repository share.
    """

    def __init__(
        self,
        *,
        client: Callable[[str], EC2Client],
        regions: Callable[[], Sequence[str]],
        provider: str = "aws",
        buckets: AwsBuckets | None = None,
        user_id: str = "",
    ) -> None:
        self._client = client
        self._buckets = buckets
        self._regions = regions
        self._provider = provider
        self._user_id = user_id
        self._slow = set[str | None]()
        """Leases with a group that waited for a machine."""

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        named = [location.region for location in locations if location.region]
        open_ended = not locations or any(location.region is None for location in locations)
        try:
            regions = sorted(set(self._regions() if open_ended else []) | set(named))
        except Exception as error:  # noqa: BLE001  an unknown place to look is not clean
            problem = f"which regions there are: {error}"[:300]
            check = ProviderCheck(
                provider=self._provider, region="", kinds=queries.KINDS, error=problem, is_final=queries.denied(error)
            )
            return InventoryResult(asked=(check,))
        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = list(pool.map(lambda region: self._ask(region, lease), regions))
        return InventoryResult(
            resources=tuple(resource for resources, _ in answers for resource in resources),
            asked=_joined(check for _, checks in answers for check in checks),
            patience_seconds=self._patience([resource for resources, _ in answers for resource in resources]),
        )

    def remove(self, resources: Sequence[Resource]) -> None:
        """Remove the resources.

        A refusal in one region does not delay the others. Raises EngineError with all refusals.
        """
        problems = []
        for region in sorted({resource.region for resource in resources}):
            in_region = [resource for resource in resources if resource.region == region and not resource.ending]
            problems += [f"{region}: {problem}" for problem in self._remove_in(region, in_region)]
        if problems:
            raise EngineError(
                "AWS refused to remove our resources: " + "; ".join(problems),
                money="They are still billed.",
                next_step="cvl-ci tries again until the deadline. After that, remove them by hand.",
            )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        tags = [{"Key": name, "Value": text} for name, text in labels.items()]
        for region in sorted({resource.region for resource in resources}):
            ids = [resource.id for resource in resources if resource.region == region]
            try:
                self._client(region).create_tags(Resources=ids, Tags=tags)  # type: ignore[arg-type]
            except Exception as error:
                raise EngineError(f"AWS refused to label {', '.join(ids)} in {region}: {error}") from error

    def lives(self, *, lease: str, locations: Sequence[Location]) -> Memory:
        regions = sorted({location.region for location in locations if location.region})
        lives = [
            self._life(region, raw) for region in regions for raw in queries.instances_ever(self._client(region), lease)
        ]
        return Memory(lives=tuple(lives), clouds=frozenset({self._provider}))

    def _life(self, region: str, raw: Mapping[str, Any]) -> Life:
        is_gone = raw["State"]["Name"] in _ENDED
        dated = _ENDED_AT.search(raw.get("StateTransitionReason") or "") if is_gone else None
        return Life(
            id=raw["InstanceId"],
            cloud=self._provider,
            region=region,
            instance_type=raw.get("InstanceType", ""),
            spot=raw.get("InstanceLifecycle") == "spot",
            start=raw["LaunchTime"].timestamp(),
            end=datetime.fromisoformat(f"{dated[1]}+00:00").timestamp() if dated else None,
            is_gone=is_gone,
            was_taken=raw.get("StateReason", {}).get("Code", "").startswith("Server.SpotInstance"),
        )

    def _remove_in(self, region: str, resources: Sequence[Resource]) -> Iterator[str]:
        buckets = [one for one in resources if one.kind is ResourceKind.BUCKET]
        if buckets and self._buckets:
            try:
                self._buckets.remove(buckets)
            except EngineError as error:
                yield error.what
        client = self._client(region)
        endings: list[tuple[str, Callable[[list[str]], Any]]] = [
            ("spot requests", lambda ids: client.cancel_spot_instance_requests(SpotInstanceRequestIds=ids)),
            ("instances", lambda ids: client.terminate_instances(InstanceIds=ids)),
            ("addresses", lambda ids: client.release_address(AllocationId=ids[0])),
            ("volumes", lambda ids: client.delete_volume(VolumeId=ids[0])),
            (queries.GROUPS, lambda ids: self._delete_group(client, ids[0], resources)),
        ]
        for kind, end in endings:
            # A volume in use goes with its instance (DeleteOnTermination); we delete only a detached one.
            ids = [one.id for one in resources if one.kind is _KINDS[kind] and one.state != "in-use"]
            size = BATCH if kind in {"instances", "spot requests"} else 1
            for start in range(0, len(ids), size):
                yield from _refusals(end, ids[start : start + size], kind)

    def _patience(self, resources: Sequence[Resource]) -> float:
        """Return how long these resources may take to end.

        A group ends after the machine of its lease, so the patience stays until the group is gone. Before that machine
        begins to end, there is no patience with its group.
        """
        groups = {one.labels.get(LABEL_LEASE) for one in resources if one.kind is ResourceKind.SECURITY_GROUP}
        machines = [one for one in resources if one.kind is ResourceKind.MACHINE]
        ending = {one.labels.get(LABEL_LEASE) for one in machines if one.ending}
        alive = {one.labels.get(LABEL_LEASE) for one in machines if not one.ending}
        self._slow |= groups & ending
        return GROUP_PATIENCE_SECONDS if (groups & self._slow) - alive else 0.0

    def _delete_group(self, client: EC2Client, group: str, resources: Sequence[Resource]) -> None:
        """Delete a group. One in use ends later, so its lease needs patience, even if no answer shows its machine."""
        try:
            client.delete_security_group(GroupId=group)
        except Exception as error:
            if _IN_USE not in str(error):
                raise
            self._slow |= {one.labels.get(LABEL_LEASE) for one in resources if one.id == group}

    def _ask(self, region: str, lease: str | None) -> tuple[list[Resource], list[ProviderCheck]]:
        kinds: tuple[str, ...] = queries.KINDS
        try:
            client = self._client(region)
            main = list(queries.of_lease(client, lease) if lease else queries.of_everybody(client))
            extra, skipped = _extra(client, lease)
        except Exception as error:  # noqa: BLE001  any error: no answer is not clean
            problem, is_final = f"{error}"[:300] or type(error).__name__, queries.denied(error)
            check = ProviderCheck(provider=self._provider, region=region, kinds=kinds, error=problem, is_final=is_final)
            return [], [check]
        buckets, bucket_kinds, no_buckets = self._labelled_buckets(region, lease)
        by_id = {
            resource.id: resource for resource in (self._resource(region, kind, raw) for kind, raw in (*main, *extra))
        }
        by_id |= {resource.id: resource for resource in buckets}
        leftovers = tuple(f"{resource.id} ({resource.state})" for resource in by_id.values() if resource.is_leftover)
        kinds = (*kinds, *(kind for kind in (queries.EXTRA, queries.GROUPS) if kind not in skipped))
        check = ProviderCheck(
            provider=self._provider,
            region=region,
            kinds=kinds if no_buckets else (*kinds, *bucket_kinds),
            leftovers=leftovers,
            skipped=tuple(skipped.values()),
            stays=tuple(f"bucket {one.id}" for one in by_id.values() if one.stays),
            shared=_shared(client, self._user_id) if lease and queries.GROUPS not in skipped else (),
        )
        if no_buckets is None:
            return list(by_id.values()), [check]
        # A silence about buckets hides no machine: machines have a check of their own.
        silence = ProviderCheck(
            provider=self._provider,
            region=region,
            kinds=bucket_kinds,
            error=no_buckets.why,
            is_final=no_buckets.is_final,
        )
        return list(by_id.values()), [check, silence]

    def _labelled_buckets(
        self, region: str, lease: str | None
    ) -> tuple[list[Resource], tuple[str, ...], Unanswered | None]:
        """Return buckets, their kinds and the reason for no answer. A lease itself asks for its own (lease.py)."""
        if self._buckets is None or lease is not None:
            return [], (), None
        buckets, why = labelled_or_unanswered(self._buckets, region, lease=lease)
        return buckets, BUCKET_KINDS, why

    def _resource(self, region: str, kind: str, raw: Mapping[str, Any]) -> Resource:
        created, state = raw.get("LaunchTime") or raw.get("CreateTime"), raw.get("State", _STATES.get(kind, ""))
        state = state["Name"] if isinstance(state, Mapping) else state
        return Resource(
            provider=self._provider,
            region=region,
            kind=_KINDS[kind],
            id=raw[_IDS[kind]],
            state=state,
            labels={tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])},
            instance_type=raw.get("InstanceType", ""),
            created_at=created.timestamp() if created else None,
            pricing=Pricing(size_gb=float(raw.get("Size") or 0), spot=raw.get("InstanceLifecycle") == "spot"),
            ending=state in _ENDING,
        )


def open_inventory(environ: Mapping[str, str]) -> Inventory:
    """Return the inventory of every region of the account. boto3 takes its credentials from this process."""
    clients = service_clients()

    def client(region: str) -> EC2Client:
        ec2: EC2Client = clients("ec2", region)
        return ec2

    buckets = AwsBuckets(clients=clients)  # this inventory itself goes through the regions
    user_id = environ.get("SKYPILOT_USER_ID", "")
    return AwsInventory(client=client, regions=account_regions(client), buckets=buckets, user_id=user_id)


def _joined(checks: Iterable[ProviderCheck]) -> tuple[ProviderCheck, ...]:
    """Return the checks. The same silence about buckets in several regions is one check."""
    answers, silences = list[ProviderCheck](), dict[str, list[ProviderCheck]]()
    for check in checks:
        if check.error is not None and check.kinds == BUCKET_KINDS:
            silences.setdefault(check.error, []).append(check)
        else:
            answers.append(check)
    answers += [replace(same[0], region=" ".join(one.region for one in same)) for same in silences.values()]
    return tuple(answers)


def _extra(client: EC2Client, lease: str | None) -> tuple[list[queries.Raw], Mapping[str, str]]:
    """Return resources that an ordinary run does not make. For a kind that may not be listed, return the reason."""
    resources: list[queries.Raw] = []
    skipped: dict[str, str] = {}
    for kind, query, makers in (
        (queries.EXTRA, queries.addresses, "no run makes one"),
        (queries.GROUPS, queries.security_groups, "only a deployment and a task with `ports` make one, free of charge"),
    ):
        try:
            resources += query(client, lease)
        except Exception as error:
            if not queries.denied(error):
                raise
            skipped[kind] = f"{kind} (these credentials may not list them; {makers})"
    return resources, skipped


def _shared(client: EC2Client, user_id: str) -> tuple[str, ...]:
    """Return what a repository's runs share, in words. It is free, so a missing answer about it takes no proof away."""
    if not user_id:
        return ()
    name = queries.shared_group(user_id)
    try:
        return tuple(f"security group {name} ({group})" for group in queries.shared_groups(client, user_id))
    except Exception as error:  # noqa: BLE001  any error: the receipt names the group without its id
        return (f"security group {name} (no answer: {error})"[:200],)


def _refusals(end: Callable[[list[str]], Any], ids: list[str], kind: str) -> Iterator[str]:
    """Yield the refusals. EC2 ends all of a request or nothing, so halve the request to isolate a refused one."""
    try:
        end(ids)
    except Exception as error:  # noqa: BLE001  botocore makes its classes at run time, one per service
        if len(ids) > 1:
            half = len(ids) // 2
            yield from _refusals(end, ids[:half], kind)
            yield from _refusals(end, ids[half:], kind)
        elif ".NotFound" not in str(error):
            yield f"{kind} {ids[0]}: {error}"
