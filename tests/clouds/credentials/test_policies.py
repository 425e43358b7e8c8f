"""The policies that we hand out: all that a run was seen to call, and nothing else without a reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
POLICIES = ROOT / "cvl_ci/clouds/policies"
RECORDED = Path(__file__).with_name("aws_actions.json")
SEEN: dict[str, list[str]] = json.loads(RECORDED.read_text())
"""What a spot run in the sandbox called: made, compared and (GOLDEN=write) recorded by test_keep_on_failure.py of
tests/sandbox."""

UNSEEN = {
    "ec2:CancelSpotInstanceRequests": "ends a spot request that no machine answered (clouds/aws/inventory.py)",
    "ec2:DeleteSecurityGroup": "ends the group that opened a service's port (clouds/aws/inventory.py)",
    "ec2:DeleteVolume": "ends a volume that outlived its machine (clouds/aws/inventory.py)",
    "ec2:DescribeInstanceStatus": "`reap` looks at what lives, where there are more than a page (aws_looks.py)",
    "ec2:DescribeTags": "`reap` finds everybody's leases by their labels (aws_looks.py)",
    "ec2:ReleaseAddress": "ends an address that carries a lease's label: no run makes one (clouds/aws/inventory.py)",
    "tag:GetResources": "`down` and `reap` find buckets without a record by their labels (clouds/aws/buckets.py)",
    "iam:GetRole": "SkyPilot looks at the role where the profile has none",
    "iam:PassRole": "AWS asks for it when a machine is launched with a role: no action of its own",
    "iam:CreateServiceLinkedRole": "AWS makes this role at the first spot request of an account",
}
UNSEEN_ON_MACHINES = {
    "ec2:DescribeInstances": "autodown finds the machines of its cluster",
    "ec2:DescribeSecurityGroups": "autodown looks for the group of its network, before it ends them",
    "ec2:DescribeVpcs": "autodown looks for its network, before it ends them",
    "ec2:TerminateInstances": "autodown ends them",
}
UNSEEN_ON_GCP = {
    "compute.addresses.list": "a release looks at addresses too; without it, it says so (clouds/gcp/inventory.py)",
    "compute.disks.delete": "ends a disk that outlived its machine (clouds/gcp/inventory.py)",
}
_NAMES = {"service-quotas": "servicequotas"}
"""The emulator's name of a service and IAM's."""


def allowed(name: str) -> list[str]:
    policy = json.loads((POLICIES / name).read_text())
    return [action for statement in policy["Statement"] for action in statement["Action"]]


def as_iam_writes(actions: Iterable[str]) -> set[str]:
    return {f"{_NAMES.get(service, service)}:{name}" for service, _, name in (item.partition(":") for item in actions)}


def test_a_run_s_actions_are_allowed_and_no_other_without_a_reason() -> None:
    assert set(allowed("aws.json")) == as_iam_writes(SEEN["client"]) | UNSEEN.keys()
    assert not as_iam_writes(SEEN["client"]) & UNSEEN.keys()


def test_a_machine_s_actions_are_allowed_and_no_other_without_a_reason() -> None:
    assert set(allowed("aws-machine.json")) == as_iam_writes(SEEN["machine"]) | UNSEEN_ON_MACHINES.keys()


@pytest.mark.parametrize("name", ["aws.json", "aws-machine.json"])
def test_no_action_is_a_pattern_and_only_looking_is_allowed_everywhere(name: str) -> None:
    policy: Any = json.loads((POLICIES / name).read_text())
    assert not [action for action in allowed(name) if "*" in action]
    for statement in policy["Statement"]:
        everywhere = "*" in statement["Resource"] if isinstance(statement["Resource"], list) else False
        if everywhere or statement["Resource"] == "*":
            changing = [
                item for item in statement["Action"] if not item.split(":")[1].startswith(("Describe", "Get", "List"))
            ]
            assert changing == [], statement["Sid"]


OURS_ALONE = {"Null": {"aws:ResourceTag/cvl-ci-lease": "false"}}
CHANGES_A_MACHINE = {"ec2:TerminateInstances", "ec2:StopInstances", "ec2:StartInstances", "ec2:RebootInstances"}


@pytest.mark.parametrize("name", ["aws.json", "aws-machine.json"])
def test_only_what_carries_our_label_is_ended_stopped_or_labelled(name: str) -> None:
    """The label is there from the moment of creation: SkyPilot gives it with RunInstances, for a machine and its
    volumes alike (sky/templates/aws-ray.yml.j2, TagSpecifications)."""
    statements = json.loads((POLICIES / name).read_text())["Statement"]
    ending = CHANGES_A_MACHINE | {"ec2:DeleteVolume", "ec2:ReleaseAddress", "ec2:CancelSpotInstanceRequests"}
    record = 0
    for statement in statements:
        actions = set(statement["Action"])
        if actions & ending:
            assert statement["Condition"] == OURS_ALONE, statement["Sid"]
            record += 1
        if "ec2:CreateTags" in actions:
            result = statement["Condition"].get("StringEquals", {}).get("ec2:CreateAction")
            assert result in {"RunInstances", "CreateSecurityGroup"} or statement["Condition"] == OURS_ALONE
        if "ec2:RunInstances" in actions and any("instance/" in one for one in statement["Resource"]):
            assert statement["Condition"] == {"Null": {"aws:RequestTag/cvl-ci-lease": "false"}}
    assert record == 1


def test_only_a_branch_or_an_environment_of_one_repository_with_the_audience_we_ask_for_is_trusted() -> None:
    from cvl_ci.clouds.aws.worker_role import AUDIENCE

    [statement] = json.loads((POLICIES / "aws-trust.json").read_text())["Statement"]
    issuer = "token.actions.githubusercontent.com"
    assert statement["Condition"].keys() == {"StringEquals"}, "no pattern: `repo:O/R:*` is every pull request too"
    held = statement["Condition"]["StringEquals"]
    assert held[f"{issuer}:aud"] == AUDIENCE
    assert held[f"{issuer}:sub"] == [
        "repo:OWNER/REPOSITORY:ref:refs/heads/BRANCH",
        "repo:OWNER/REPOSITORY:environment:ENVIRONMENT",
    ]


@pytest.mark.sky
def test_gcp_s_role_is_what_skypilot_checks_for_and_no_more_without_a_reason(tmp_path: Path) -> None:
    program = (
        "import json; from sky.clouds.utils import gcp_utils as g; "
        "print(json.dumps(sorted({*g.get_minimal_compute_permissions(), 'iam.serviceAccounts.actAs'})))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    role = yaml.safe_load((POLICIES / "gcp.yaml").read_text())
    checked = json.loads(result.stdout.splitlines()[-1])
    assert role["includedPermissions"] == sorted({*checked, *UNSEEN_ON_GCP})
    assert not set(checked) & UNSEEN_ON_GCP.keys()
