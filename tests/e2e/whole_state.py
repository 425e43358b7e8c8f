"""The whole state of the emulated account: every kind of thing that a request of a run has made or changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cvl_ci.sandbox import SkyAccess

MADE_BY = {
    "ec2:RunInstances": "instances",
    "ec2:TerminateInstances": "instances",
    "ec2:StopInstances": "instances",
    "ec2:CreateTags": "tags",
    "ec2:CreateSecurityGroup": "groups",
    "ec2:DeleteSecurityGroup": "groups",
    "ec2:AuthorizeSecurityGroupIngress": "groups",
    "ec2:AuthorizeSecurityGroupEgress": "groups",
    "ec2:ModifyInstanceAttribute": "instances",
    "iam:CreateRole": "roles",
    "iam:AttachRolePolicy": "roles",
    "iam:CreateInstanceProfile": "profiles",
    "iam:AddRoleToInstanceProfile": "profiles",
    "s3:CreateBucket": "buckets",
    "s3:DeleteBucket": "buckets",
    "s3:PutBucketTagging": "buckets",
    "s3:PutObject": "objects",
    "s3:DeleteObject": "objects",
    "s3:DeleteObjects": "objects",
    "s3:CopyObject": "objects",
    "s3:CreateMultipartUpload": "uploads",
    "s3:UploadPart": "uploads",
    "s3:CompleteMultipartUpload": "uploads",
    "s3:AbortMultipartUpload": "uploads",
}
"""Each request that changes the account, and the part of `whole_state` that shows its effect."""
_ONLY_READS = ("Describe", "Get", "List", "Head", "Simulate", "AssumeRole", "Decode")


def unknown_changes(directory: Path) -> list[str]:
    """Return the requests that changed the account in a way that `whole_state` does not show."""
    seen = json.loads((directory / "actions.json").read_text())
    actions = {action for actions in seen.values() for action in actions}
    changes = {action for action in actions if not action.partition(":")[2].startswith(_ONLY_READS)}
    return sorted(changes - MADE_BY.keys())


def whole_state(access: SkyAccess) -> dict[str, object]:
    import boto3
    from botocore.config import Config

    session: Any = boto3.session.Session(
        aws_access_key_id=access.access_key_id, aws_secret_access_key=access.secret_access_key
    )

    def client(service: str, region: str) -> Any:
        return session.client(service, region_name=region, endpoint_url=access.endpoint_url, config=Config(proxies={}))

    parts: dict[str, object] = {}
    for region in access.regions:
        for name, entries in _ec2(client("ec2", region)).items():
            parts[f"{name} in {region}"] = entries
    parts.update(_iam(client("iam", "us-east-1")))
    parts.update(_s3(client("s3", "us-east-1")))
    return parts


def _ec2(ec2: Any) -> Mapping[str, object]:
    reservations = ec2.describe_instances()["Reservations"]
    alive = [
        one["InstanceId"]
        for reservation in reservations
        for one in reservation["Instances"]
        if one["State"]["Name"] != "terminated"
    ]
    groups = {one["GroupName"]: _plain(one) for one in ec2.describe_security_groups()["SecurityGroups"]}
    lists = {
        "volumes": ec2.describe_volumes()["Volumes"],
        "snapshots": ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"],
        "images": ec2.describe_images(Owners=["self"])["Images"],
        "key pairs": ec2.describe_key_pairs()["KeyPairs"],
        "addresses": ec2.describe_addresses()["Addresses"],
        "network interfaces": ec2.describe_network_interfaces()["NetworkInterfaces"],
        "spot requests": [
            one
            for one in ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
            if one["State"] in ("open", "active")
        ],
        "launch templates": ec2.describe_launch_templates()["LaunchTemplates"],
        "networks": ec2.describe_vpcs()["Vpcs"],
        "subnets": [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]],
        "route tables": ec2.describe_route_tables()["RouteTables"],
        "gateways": ec2.describe_internet_gateways()["InternetGateways"],
    }
    return {"instances": alive, "groups": groups, **{name: _plain(entries) for name, entries in lists.items()}}


def _iam(iam: Any) -> Iterator[tuple[str, object]]:
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        yield f"role {name}", [_plain(attached), iam.list_role_policies(RoleName=name)["PolicyNames"]]
    yield "users", [one["UserName"] for one in iam.list_users()["Users"]]
    yield "policies", [one["PolicyName"] for one in iam.list_policies(Scope="Local")["Policies"]]
    yield "profiles", [one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]]


def _s3(s3: Any) -> Iterator[tuple[str, object]]:
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        objects = {one["Key"]: one["ETag"] for one in s3.list_objects_v2(Bucket=name).get("Contents", [])}
        uploads = [one["UploadId"] for one in s3.list_multipart_uploads(Bucket=name).get("Uploads", [])]
        yield f"bucket {name}", {"objects": objects, "uploads": uploads, "labels": _labels(s3, name)}


def _labels(s3: Any, bucket: str) -> object:
    return _answered(lambda: {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]})


def _answered(question: Callable[[], object]) -> object:
    from botocore.exceptions import ClientError

    try:
        return question()
    except ClientError as error:
        return error.response["Error"]["Code"]


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str, sort_keys=True))
