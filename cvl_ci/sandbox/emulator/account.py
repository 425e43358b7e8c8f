"""The contents of a new account, with a role for which SkyPilot would otherwise wait 30 s."""

from __future__ import annotations

import json
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends

from cvl_ci.sandbox.emulator.ec2 import EmulatedEc2

ROLE = "skypilot-v1"
ASSUMED_BY_MACHINES = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def seed(cloud: EmulatedEc2) -> None:
    for backend in cloud.backends():
        _internet_route(backend)
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    iam.create_instance_profile(ROLE, "/", [], tags=[])
    iam.create_role(ROLE, json.dumps(ASSUMED_BY_MACHINES), "/", None, "", [], "3600")
    iam.add_role_to_instance_profile(ROLE, ROLE)


def _internet_route(backend: Any) -> None:
    """Add a route to the internet. Without one, SkyPilot takes each subnet as private."""
    gateway = backend.create_internet_gateway()
    vpc = backend.default_vpc.id
    backend.attach_internet_gateway(gateway.id, vpc)
    table = backend.describe_route_tables(filters={"vpc-id": [vpc], "association.main": ["true"]})[0]
    backend.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)
