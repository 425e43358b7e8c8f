"""A machine that is kept, on an emulated EC2: its labels say until when, and the reaper waits for that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cvl_ci.clouds import AwsInventory, Inventories
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.reap.reap import Reaped, ReapPorts, reap
from cvl_ci.engine.worker import open_port
from cvl_ci.engine.worker.open_port import Opening
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_KEPT
from cvl_ci.model.location import Location
from cvl_ci.ports import Resource, ResourceKind
from tests.engine.test_reap_on_moto import OURS, REGION, OnMoto, client, running, start
from tests.support.fakes import FakeClock, FakeReporter

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

__all__ = ["client"]


class AllOver:
    """A GitHub that says of every run that it is over."""

    def ended_at(self, run: str, attempt: str) -> float | None:
        return time.time() - 3600


def reaped(client: Callable[[str], EC2Client]) -> Reaped:
    ports = ReapPorts(
        clouds=OnMoto(client),
        prices=CataloguePrices(),
        reporter=FakeReporter(),
        clock=FakeClock(time=time.time()),
        runs=AllOver(),
    )
    return reap(
        [Location(cloud="aws")],
        owner="cvl/ci",
        repository="cvl/ci",
        named=False,
        grace=600,
        dry_run=False,
        user_id="u",
        ports=ports,
    )


def inventory(client: Callable[[str], EC2Client]) -> Inventories:
    return Inventories({"aws": AwsInventory(client=client, regions=lambda: [REGION])})


def ours(client: Callable[[str], EC2Client]) -> tuple[Resource, ...]:
    return inventory(client).find(lease=OURS.name, locations=[Location(cloud="aws")]).read()[0]


def kept(client: Callable[[str], EC2Client], *, until: float) -> None:
    labels = {LABEL_DEADLINE: str(int(until)), LABEL_KEPT: str(int(until))}
    inventory(client).label(ours(client), labels)


def test_its_labels_are_moved_and_nobody_else_s(client: Callable[[str], EC2Client]) -> None:
    start(client, 2, OURS.labels(deadline=1_800_000_000))
    start(client, 1, {"Name": "somebody's"})
    kept(client, until=1_900_000_000)
    found = inventory(client).find(lease=None, locations=[Location(cloud="aws")]).read()[0]
    assert [each.labels[LABEL_DEADLINE] for each in found if each.kind is ResourceKind.MACHINE] == ["1900000000"] * 2
    assert [each.labels[LABEL_KEPT] for each in found if each.kind is ResourceKind.MACHINE] == ["1900000000"] * 2


def test_the_reaper_ends_what_a_run_that_is_over_left_but_not_what_it_kept(client: Callable[[str], EC2Client]) -> None:
    machines = set(start(client, 1, OURS.labels(deadline=time.time() + 3600)))
    kept(client, until=time.time() + 3600)
    assert not reaped(client).due
    assert running(client) == machines


def test_the_reaper_ends_what_was_kept_and_is_past_its_time(client: Callable[[str], EC2Client]) -> None:
    start(client, 1, OURS.labels(deadline=time.time() + 3600))
    kept(client, until=time.time() - 3600)
    assert len(reaped(client).due) == 1
    assert not running(client)


def test_the_same_run_without_keeping_is_ended_at_once(client: Callable[[str], EC2Client]) -> None:
    start(client, 1, OURS.labels(deadline=time.time() + 3600))
    assert len(reaped(client).due) == 1
    assert not running(client)


def test_a_label_that_is_refused_is_an_error(client: Callable[[str], EC2Client]) -> None:
    start(client, 1, OURS.labels(deadline=1_800_000_000))
    with pytest.raises(EngineError, match="refused to label"):
        inventory(client).label(ours(client), {f"one-{number}": "too many" for number in range(51)})


def test_what_no_inventory_here_knows_cannot_be_labelled(client: Callable[[str], EC2Client]) -> None:
    start(client, 1, OURS.labels(deadline=1_800_000_000))
    elsewhere = [replace(each, provider="gcp") for each in ours(client)]
    with pytest.raises(EngineError, match="gcp"):
        inventory(client).label(elsewhere, {LABEL_KEPT: "1"})


def test_the_port_of_a_service_is_a_group_of_its_lease_which_ends_with_it(client: Callable[[str], EC2Client]) -> None:
    ec2 = client(REGION)
    subnet = ec2.describe_subnets()["Subnets"][0]
    labels = OURS.labels(deadline=time.time() + 600)
    opening = Opening(lease=OURS.name, ports=((8080, 8080),), networks=("203.0.113.0/24",), labels=labels)
    body: dict[str, object] = {
        "NetworkInterface.1.SubnetId": subnet["SubnetId"],
        "NetworkInterface.1.SecurityGroupId.1": "sg-of-skypilot",
    }
    open_port.join(dict(body), opening=opening, client=ec2, deadline=time.time() + 600)
    asked = dict(body)
    open_port.join(asked, opening=opening, client=ec2, deadline=time.time() + 600)
    inventory = AwsInventory(client=client, regions=lambda: [REGION])
    found, silent = inventory.find(lease=OURS.name, locations=[Location(cloud="aws", region=REGION)]).read()
    (group,) = found
    assert (group.kind, silent) == (ResourceKind.SECURITY_GROUP, ())
    assert asked["NetworkInterface.1.SecurityGroupId.2"] == group.id, "the second request takes the same group"
    (made,) = ec2.describe_security_groups(GroupIds=[group.id])["SecurityGroups"]
    (rule,) = made["IpPermissions"]
    ranges = [one["CidrIp"] for one in rule["IpRanges"]]
    assert (rule["FromPort"], rule["ToPort"], ranges) == (8080, 8080, ["203.0.113.0/24"])
    assert group.labels[LABEL_DEADLINE].isdecimal()
    inventory.remove([group])
    assert inventory.find(lease=OURS.name, locations=[Location(cloud="aws", region=REGION)]).read() == ((), ())
    with pytest.raises(ValueError, match="names no subnet"):
        open_port.join({}, opening=opening, client=ec2, deadline=0)
