"""AWS on an emulated EC2: what is found under our labels, what is said where a look is not allowed, what is ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cvl_ci.clouds import AwsInventory, ec2_clients
from cvl_ci.clouds.aws import queries
from cvl_ci.clouds.aws.inventory import GROUP_PATIENCE_SECONDS
from cvl_ci.lease import PROOF_SECONDS
from cvl_ci.model.location import Location
from cvl_ci.model.owner import Owner
from cvl_ci.ports import InventoryResult, Resource, ResourceKind

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

REGION = "us-east-1"
OURS = Owner(repository="cvl/ci", run="12345678901")


@pytest.fixture
def client() -> Iterator[EC2Client]:
    with mock_aws():
        yield ec2_clients(access_key_id="testing", secret_access_key="testing")(REGION)


def find(client: EC2Client, lease: str | None = None) -> InventoryResult:
    inventory = AwsInventory(client=lambda _: client, regions=lambda: [REGION])
    return inventory.find(lease=lease, locations=[Location(cloud="aws")])


def labels(**more: str) -> list[Any]:
    ours = {**OURS.labels(deadline=time.time() - 60), **more}
    return [{"Key": key, "Value": value} for key, value in ours.items()]


def start(client: EC2Client, count: int, tags: list[Any]) -> set[str]:
    answer = client.run_instances(
        ImageId="ami-12c6146b",
        InstanceType="m6i.large",
        MinCount=count,
        MaxCount=count,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return {instance["InstanceId"] for instance in answer["Instances"]}


def refuse(client: EC2Client, action: str, code: str = "UnauthorizedOperation") -> None:
    def refused(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "You are not authorized"}}, action)

    client.meta.events.register(f"before-call.ec2.{action}", refused)


def a_volume(client: EC2Client) -> str:
    tags: Any = [{"ResourceType": "volume", "Tags": labels()}]
    return client.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=tags)["VolumeId"]


def an_address(client: EC2Client) -> str:
    tags: Any = [{"ResourceType": "elastic-ip", "Tags": labels()}]
    return client.allocate_address(Domain="vpc", TagSpecifications=tags)["AllocationId"]


@pytest.mark.parametrize("lease", [OURS.name, None])
def test_machines_loose_disks_and_addresses_of_ours_are_found_and_ended(client: EC2Client, lease: str | None) -> None:
    ours = {*start(client, 2, labels()), a_volume(client), an_address(client)}
    start(client, 1, [{"Key": "Name", "Value": "another's"}])
    result = find(client, lease)
    assert {resource.id for resource in result.read()[0]} == ours
    assert {resource.kind for resource in result.read()[0]} == {
        ResourceKind.MACHINE,
        ResourceKind.DISK,
        ResourceKind.ADDRESS,
    }
    assert [set(request.leftovers) for request in result.asked] != [set()]
    AwsInventory(client=lambda _: client, regions=lambda: [REGION]).remove(result.read()[0])
    after = find(client, lease)
    assert after.read()[0] == ()
    assert [request.clean for request in after.asked] == [True]


def test_a_machine_that_only_has_the_lease_s_name_is_of_that_lease(client: EC2Client) -> None:
    named = start(client, 1, [{"Key": "skypilot-cluster-name", "Value": f"{OURS.name}-{OURS.user_id}"}])
    assert {resource.id for resource in find(client, OURS.name).read()[0]} == named
    assert {resource.id for resource in find(client, None).read()[0]} == named


def test_addresses_that_may_not_be_looked_at_are_said_and_fail_no_release(client: EC2Client) -> None:
    refuse(client, "DescribeAddresses")
    (request,) = find(client, OURS.name).asked
    assert request.clean
    assert "addresses" not in request.kinds
    assert "addresses" in request.skipped[0]


def test_addresses_that_could_not_be_looked_at_for_another_reason_leave_it_unanswered(client: EC2Client) -> None:
    refuse(client, "DescribeAddresses", code="RequestLimitExceeded")
    (request,) = find(client, OURS.name).asked
    assert "RequestLimitExceeded" in str(request.error)


def test_a_group_in_use_is_no_refusal_and_stays_in_the_answer_until_it_is_gone(client: EC2Client) -> None:
    tags: Any = [{"ResourceType": "security-group", "Tags": labels()}]
    vpc = client.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = client.create_security_group(GroupName="s", Description="d", VpcId=vpc, TagSpecifications=tags)["GroupId"]
    inventory = AwsInventory(client=lambda _: client, regions=lambda: [REGION])
    refuse(client, "DeleteSecurityGroup", code="DependencyViolation")
    for lease in (OURS.name, None):
        result = find(client, lease)
        inventory.remove(result.read()[0])
        assert [set(request.leftovers) for request in result.asked if "security groups" in request.kinds] == [
            {f"{group} (open)"}
        ]


def shown(kind: ResourceKind, state: str, *, lease: str = "ours") -> Resource:
    return Resource(
        provider="aws",
        region=REGION,
        kind=kind,
        id="x",
        state=state,
        labels={"cvl-ci-lease": lease},
        ending=state == "shutting-down",
    )


def test_a_group_is_waited_for_after_the_slow_end_of_its_machine(client: EC2Client) -> None:
    """EC2 refuses to delete a group until its instance is terminated (DependencyViolation). Moto ends one at once."""
    group, ending = shown(ResourceKind.SECURITY_GROUP, "open"), shown(ResourceKind.MACHINE, "shutting-down")

    def patience(*rounds: list[Resource]) -> list[float]:
        inventory = AwsInventory(client=lambda _: client, regions=lambda: [REGION])
        return [inventory._patience(resources) for resources in rounds]

    long = GROUP_PATIENCE_SECONDS
    assert patience([group, ending], [group], []) == [long, long, 0.0]
    assert long > PROOF_SECONDS
    elsewhere = shown(ResourceKind.SECURITY_GROUP, "open", lease="another")
    assert (
        patience([group], [ending], [elsewhere, ending], [group, shown(ResourceKind.MACHINE, "running")]) == [0.0] * 4
    )


def test_a_group_in_use_is_waited_for_even_if_no_answer_shows_its_machine(client: EC2Client) -> None:
    group = shown(ResourceKind.SECURITY_GROUP, "open")
    inventory = AwsInventory(client=lambda _: client, regions=lambda: [REGION])
    assert inventory._patience([group]) == 0.0
    refuse(client, "DeleteSecurityGroup", "DependencyViolation")
    inventory.remove([group])
    assert inventory._patience([group]) == GROUP_PATIENCE_SECONDS
    assert inventory._patience([group, shown(ResourceKind.MACHINE, "running")]) == 0.0
    assert inventory._patience([]) == 0.0


def test_groups_that_may_not_be_looked_at_are_said(client: EC2Client) -> None:
    refuse(client, "DescribeSecurityGroups")
    (request,) = find(client, OURS.name).asked
    assert request.clean and "security groups" not in request.kinds
    assert "security groups" in request.skipped[0]


@pytest.mark.parametrize("action", ["DescribeInstances", "DescribeVolumes", "DescribeSpotInstanceRequests"])
def test_what_a_run_makes_has_to_be_looked_at(client: EC2Client, action: str) -> None:
    refuse(client, action)
    (request,) = find(client, OURS.name).asked
    assert not request.clean


@pytest.mark.parametrize("action", ["DescribeTags", "DescribeInstanceStatus"])
def test_without_the_right_to_list_tags_or_states_the_longer_way_finds_the_same(
    client: EC2Client, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE", 2)
    ours = start(client, 3, labels())
    start(client, 3, [{"Key": "Name", "Value": "another's"}])
    refuse(client, action)
    assert {resource.id for resource in find(client).read()[0]} == ours


def test_beyond_a_page_all_are_found_and_the_longest_overdue_have_their_type(
    client: EC2Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE", 2)
    client.terminate_instances(InstanceIds=sorted(start(client, 5, labels(**{"cvl-ci-deadline": "1"}))))
    later = start(client, 3, labels(**{"cvl-ci-deadline": str(int(time.time()) + 900)}))
    overdue = start(client, 2, labels())
    results = find(client).read()[0]
    assert {resource.id for resource in results} == later | overdue
    assert {resource.id for resource in results if resource.instance_type} == overdue


def test_machines_that_are_over_are_not_found(client: EC2Client) -> None:
    over = start(client, 3, labels())
    client.terminate_instances(InstanceIds=sorted(over))
    assert find(client).read()[0] == ()
    assert find(client, OURS.name).read()[0] == ()


def test_a_region_that_does_not_answer_keeps_no_other_from_being_asked(client: EC2Client) -> None:
    start(client, 1, labels())

    def clients(region: str) -> EC2Client:
        if region == REGION:
            return client
        raise OSError("no route to host")

    asking: Callable[[], list[str]] = lambda: [REGION, "eu-west-1"]  # noqa: E731
    result = AwsInventory(client=clients, regions=asking).find(lease=None, locations=[])
    assert len(result.read()[0]) == 1
    assert [request.error is None for request in result.asked] == [False, True]


def test_the_lives_of_ended_machines_have_the_dates_that_ec2_gives(client: EC2Client) -> None:
    """The cost of a run is metered by them: a machine that another program ended is billed to its end and no longer."""
    begun = time.time()
    first, second = start(client, 2, labels())
    start(client, 1, [{"Key": "Name", "Value": "of somebody else"}])
    client.terminate_instances(InstanceIds=[first])
    inventory = AwsInventory(client=lambda _: client, regions=lambda: [REGION])
    memory = inventory.lives(lease=OURS.name, locations=[Location(cloud="aws", region=REGION)])
    lives = {life.id: life for life in memory.lives}
    assert lives.keys() == {first, second} and memory.clouds == {"aws"}
    gone, alive = lives[first], lives[second]
    assert (gone.is_gone, gone.was_taken, gone.instance_type) == (True, False, "m6i.large")
    assert gone.end is not None and begun - 2 <= gone.start <= gone.end <= time.time() + 2
    assert (alive.is_gone, alive.end) == (False, None)


@pytest.mark.parametrize(
    ("answer", "end", "was_taken"),
    [
        ({"StateTransitionReason": "User initiated (2026-11-29 06:47:12 GMT)"}, 1_795_934_832.0, False),
        ({"StateTransitionReason": "User initiated (2026-11-29 06:47:12 UTC)"}, 1_795_934_832.0, False),
        ({"StateTransitionReason": "Server.SpotInstanceTermination"}, None, False),
        ({"StateReason": {"Code": "Server.SpotInstanceTermination"}}, None, True),
        ({"StateReason": {"Code": "Client.InstanceInitiatedShutdown"}}, None, False),
        ({"StateTransitionReason": ""}, None, False),
    ],
)
def test_an_end_without_a_date_is_no_date(answer: dict[str, Any], end: float | None, was_taken: bool) -> None:
    inventory = AwsInventory(client=lambda _: None, regions=lambda: [REGION])  # type: ignore[arg-type, return-value]
    launch = datetime(2026, 11, 29, 6, tzinfo=timezone.utc)
    raw = {"InstanceId": "i-1", "LaunchTime": launch, "State": {"Name": "terminated"}, **answer}
    life = inventory._life(REGION, raw)
    assert (life.end, life.was_taken, life.is_gone) == (end, was_taken, True)
