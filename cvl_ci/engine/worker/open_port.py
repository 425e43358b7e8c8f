"""Open ports of machines on AWS: a security group of the lease, next to the repository's shared group.

SkyPilot's own `ports` would either open them in the shared group, for every address and for ever, or replace that group
by one without the lease's labels. The machines' own end then needs the right to move them back
(sky/provision/aws/instance.py, open_ports and terminate_instances), which the role of a machine does not have. A group
of the lease has its labels from birth, and a release proves its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cvl_ci.model.lease_name import LABEL_DEADLINE
from cvl_ci.model.service import WORLD, ServicePlan

_SUBNET = "NetworkInterface.1.SubnetId"
_GROUP = "NetworkInterface.1.SecurityGroupId."
"""RunInstances as botocore sends it: EC2's query protocol flattens lists."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The ports to open, for whom, and the lease that the group belongs to. `ports`: the first and the last of each."""

    lease: str
    ports: tuple[tuple[int, int], ...]
    networks: tuple[str, ...]
    labels: Mapping[str, str]


def values_of(service: ServicePlan | None, *, labels: Mapping[str, str], lease: str) -> dict[str, Any]:
    """Return the opening as plain values, for another process. Without a service it has no port yet.

    SkyPilot opens a task's ports to every address too: sky/provision/aws/instance.py, open_ports.
    """
    ports = [[service.public_port, service.public_port]] if service is not None else []
    networks = list(service.allow) if service is not None else list(WORLD)
    return {"lease": lease, "ports": ports, "networks": networks, "labels": dict(labels)}


def opening_of(values: Mapping[str, Any] | None) -> Opening | None:
    if values is None:
        return None
    ports = tuple((int(first), int(last)) for first, last in values["ports"])
    networks, labels = tuple(map(str, values["networks"])), dict(values["labels"])
    return Opening(lease=str(values["lease"]), ports=ports, networks=networks, labels=labels)


def of_request(opening: Opening | None, *, ports: Sequence[str] | None) -> Opening | None:
    """Return the opening for one request: a service's port, else the task's `ports`. None opens nothing.

    `ports`: as SkyPilot's resources hold them, such as `8888` and `9000-9010` (sky/resources.py, 0.14.1).
    """
    if opening is None or opening.ports:
        return opening
    ranges = [text.partition("-") for text in ports or ()]
    task_ports = tuple((int(first), int(last or first)) for first, _, last in ranges)
    return replace(opening, ports=task_ports) if task_ports else None


def join(body: dict[str, Any], *, opening: Opening, client: Any, deadline: float) -> None:
    """Add the group of the lease to a request for machines. Raise ValueError if the request names no subnet."""
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
    group = str(groups[0]["GroupId"]) if groups else _create(client, vpc, opening, deadline)
    rules = groups[0].get("IpPermissions", []) if groups else []
    is_open = {(rule.get("FromPort"), rule.get("ToPort")) for rule in rules}
    missing = [
        {
            "IpProtocol": "tcp",
            "FromPort": first,
            "ToPort": last,
            "IpRanges": [{"CidrIp": network} for network in opening.networks],
        }
        for first, last in opening.ports
        if (first, last) not in is_open
    ]
    if missing:
        client.authorize_security_group_ingress(GroupId=group, IpPermissions=missing)
    return group


def _create(client: Any, vpc: str, opening: Opening, deadline: float) -> str:
    """Make the group, with the labels of the lease from its birth."""
    labels = {**opening.labels, LABEL_DEADLINE: str(int(deadline))}
    tags = [{"Key": name, "Value": value} for name, value in labels.items()]
    answer = client.create_security_group(
        GroupName=opening.lease,
        Description="cvl-ci: the ports of one run",
        VpcId=vpc,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
    )
    return str(answer["GroupId"])
