"""One security group a region for all runs of a repository, held to SkyPilot's own configuration."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cvl_ci.clouds import AwsInventory
from cvl_ci.clouds.aws import queries
from cvl_ci.model.location import Location
from cvl_ci.model.owner import Owner

pytestmark = pytest.mark.sky

REGION = "us-east-1"
OWNER, OTHER = Owner(repository="zhaomei/models", run="1"), Owner(repository="zhaomei/others", run="1")


def configured() -> Any:
    """Return the name that SkyPilot would use: sky/clouds/aws.py, make_deploy_resources_variables."""
    from sky import skypilot_config

    return skypilot_config.get_effective_region_config(
        cloud="aws", region="us-east-1", keys=("security_group_name",), default_value=None
    )


def test_skypilot_uses_one_name_on_every_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvl_ci.engine.worker.shared_group import one_shared_group

    monkeypatch.setenv("SKYPILOT_USER_ID", OWNER.user_id)
    before = configured()
    with one_shared_group():
        assert configured() == queries.shared_group(OWNER.user_id)
    assert configured() == before


def test_two_repositories_have_two_groups_and_the_runs_of_one_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group admits all traffic between its machines. SkyPilot's own function makes it, on moto."""
    from sky.provision.aws import config

    from cvl_ci.engine.worker.shared_group import one_shared_group

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        ec2 = boto3.client("ec2", region_name=REGION)
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        groups = []
        for owner in (OWNER, replace(OWNER, run="2"), OTHER):
            monkeypatch.setenv("SKYPILOT_USER_ID", owner.user_id)
            with one_shared_group():
                resource = boto3.resource("ec2", region_name=REGION)
                groups += config._configure_security_group(resource, vpc, configured(), [], False)
        made = ec2.describe_security_groups(GroupIds=list(dict.fromkeys(groups)))["SecurityGroups"]
        assert groups[0] == groups[1] != groups[2]
        assert {group["GroupName"] for group in made} == {queries.shared_group(one.user_id) for one in (OWNER, OTHER)}
        for group in made:
            admitted = [pair["GroupId"] for rule in group["IpPermissions"] for pair in rule["UserIdGroupPairs"]]
            assert admitted == [group["GroupId"]]

        inventory = AwsInventory(client=lambda _: ec2, regions=lambda: [REGION], user_id=OWNER.user_id)
        (asked,) = inventory.find(lease=OWNER.name, locations=[Location(cloud="aws", region=REGION)]).asked
        assert asked.shared == (f"security group {queries.shared_group(OWNER.user_id)} ({groups[0]})",)
        (asked,) = inventory.find(lease=None, locations=[Location(cloud="aws", region=REGION)]).asked
        assert asked.shared == ()


@pytest.mark.parametrize("repository", ["a/b", "/home/anna/\u00dcn\u00ef", "", "x" * 300])
def test_ec2_takes_the_name(repository: str) -> None:
    """At most 255 characters, not `sg-` at its head: EC2 API Reference, CreateSecurityGroup, GroupName."""
    name = queries.shared_group(Owner(repository=repository, run="1").user_id)
    assert re.fullmatch(r"(?!sg-)[a-z0-9-]{1,255}", name)


def test_a_group_of_the_user_s_own_configuration_wins() -> None:
    from sky import skypilot_config

    from cvl_ci.engine.worker.shared_group import one_shared_group

    with (
        skypilot_config.override_skypilot_config({"aws": {"security_group_name": "our-firewall"}}),
        one_shared_group(),
    ):
        assert configured() == "our-firewall"


def test_skypilot_never_ends_a_group_of_its_configuration() -> None:
    """It would move the machines first, which a machine's own role may not do: sky/provision/aws/instance.py."""
    import inspect

    from sky.clouds import aws
    from sky.provision.aws import instance

    assert "security_group != user_security_group" in inspect.getsource(aws.AWS.make_deploy_resources_variables)
    assert "elif not managed_by_skypilot:" in inspect.getsource(instance.terminate_instances)
