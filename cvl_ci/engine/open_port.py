"""Open one port of one machine on AWS: a security group of the lease, next to SkyPilot's shared one.

SkyPilot's own `ports` would replace the shared group of its machines. Their own end then needs the right to move them
back (sky/provision/aws/instance.py, terminate_instances), which the role of a machine does not have. A group of the
lease has its labels from birth, admits named networks alone, and a release proves its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cvl_ci.model.lease_name import LABEL_DEADLINE
from cvl_ci.model.service import ServicePlan

_SUBNET = "NetworkInterface.1.SubnetId"
_GROUP = "NetworkInterface.1.SecurityGroupId."
"""RunInstances as botocore sends it: EC2's query protocol flattens lists."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The port to open, for whom, and the lease that the group belongs to."""

    lease: str
    port: int
    networks: tuple[str, ...]
    labels: Mapping[str, str]


def values_of(service: ServicePlan | None, *, labels: Mapping[str, str], lease: str) -> dict[str, Any] | None:
    """Return the opening as plain values, for another process; None without a service."""
    if service is None:
        return None
    return {"lease": lease, "port": service.public_port, "networks": list(service.allow), "labels": dict(labels)}


def opening_of(values: Mapping[str, Any] | None) -> Opening | None:
    if values is None:
        return None
    networks, labels = tuple(map(str, values["networks"])), dict(values["labels"])
    return Opening(lease=str(values["lease"]), port=int(values["port"]), networks=networks, labels=labels)


def join(body: dict[str, Any], *, opening: Opening, client: Any, deadline: float) -> None:
    """Add the group of the lease to a request for a machine. Raise ValueError if the request names no subnet."""
    subnet = body.get(_SUBNET)
    if not subnet:
        raise ValueError("SkyPilot's request for a machine names no subnet, so no port can be opened for it.")
    vpc = client.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
    group = _group(client, vpc, opening, deadline)
    number = 1
    while f"{_GROUP}{number}" in body:
        number += 1
    body[f"{_GROUP}{number}"] = group


def _group(client: Any, vpc: str, opening: Opening, deadline: float) -> str:
    """Return the id of the group in this network. Several requests of one launch share it."""
    same = [{"Name": "group-name", "Values": [opening.lease]}, {"Name": "vpc-id", "Values": [vpc]}]
    groups = client.describe_security_groups(Filters=same)["SecurityGroups"]
    if groups and any(rule.get("FromPort") == opening.port for rule in groups[0].get("IpPermissions", [])):
        return str(groups[0]["GroupId"])
    group = str(groups[0]["GroupId"]) if groups else _create(client, vpc, opening, deadline)
    rule = {
        "IpProtocol": "tcp",
        "FromPort": opening.port,
        "ToPort": opening.port,
        "IpRanges": [{"CidrIp": network} for network in opening.networks],
    }
    client.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    return group


def _create(client: Any, vpc: str, opening: Opening, deadline: float) -> str:
    """Make the group, with the labels of the lease from its birth."""
    labels = {**opening.labels, LABEL_DEADLINE: str(int(deadline))}
    tags = [{"Key": name, "Value": value} for name, value in labels.items()]
    answer = client.create_security_group(
        GroupName=opening.lease,
        Description="cvl-ci: the port of one service",
        VpcId=vpc,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
    )
    return str(answer["GroupId"])
