"""One name of a lease for every provider: each inventory reads the name that `format_name` wrote, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from cvl_ci.clouds.registry import provable_clouds
from cvl_ci.model.lease_name import ANY_CLUSTER, PREFIX, ClusterName, format_name, parse_name
from cvl_ci.model.owner import Owner
from tests.clouds.inventory import test_azure, test_gcp, test_kubernetes, test_lambda_cloud, test_runpod
from tests.clouds.inventory.cases import OTHER, OURS
from tests.clouds.inventory.test_contract import ASK, EC2, LEASE, Said, real_empty

CLUSTER = f"{format_name(run='12345678901', digest=LEASE[-8:])}-0a1b2c3d"
STRANGERS = ["cvl", "cvl-", "cvl-outputs", "cvl-report-2024", f"{LEASE}", f"x-{CLUSTER}", "web"]


def _ec2(cluster: str, question: str) -> bytes:
    """EC2's filter by tag finds the machine of this cluster; without the label, a machine has its name alone."""
    prefix = re.search(r"skypilot-cluster-name&Filter\.1\.Value\.1=([^&]+)", question)
    if "Action=DescribeInstances" not in question or not prefix or not cluster.startswith(prefix[1].rstrip("*%2A")):
        return real_empty("aws", question).body
    tag = f"<tagSet><item><key>skypilot-cluster-name</key><value>{cluster}</value></item></tagSet>"
    state = "<instanceState><code>16</code><name>running</name></instanceState>"
    machine = f"<instancesSet><item><instanceId>i-1</instanceId>{state}{tag}</item></instancesSet>"
    items = f"<reservationSet><item>{machine}</item></reservationSet>"
    return f'<DescribeInstancesResponse xmlns="{EC2}">{items}</DescribeInstancesResponse>'.encode()


def _with_one(provider: str, cluster: str) -> Callable[[str], Said]:
    """Answers of a provider that has one resource of this cluster, known by its name alone."""

    def answer(question: str) -> Said:
        body: object = None
        if provider == "aws":
            return Said(_ec2(cluster, question))
        if provider == "gcp" and "/aggregated/instances" in question:
            body = test_gcp.page("instances", test_gcp.instance(f"{cluster}-head-1a2b3c4d-compute", {}))
        elif provider == "azure" and "/resourcegroups" in question:
            body = {"value": [test_azure.group(f"{cluster}-eastus")]}
        elif provider == "kubernetes":
            pod = test_kubernetes.pod(cluster=cluster)
            pod["metadata"]["labels"] = {"skypilot-cluster-name": cluster}
            body = {"kind": "List", "items": [pod]}
        elif provider == "lambda":
            body = {"data": [test_lambda_cloud.machine(f"{cluster}-head")]}
        elif provider == "runpod":
            body = test_runpod.of_account([test_runpod.pod(f"{cluster}-head")])
        return Said(json.dumps(body).encode()) if body else real_empty(provider, question)

    return answer


def test_every_provider_of_the_registry_is_held_to_it() -> None:
    assert set(ASK) == set(provable_clouds())


@pytest.mark.parametrize("provider", [name for name in ASK if name != "api-server"])
def test_every_provider_finds_a_resource_by_the_name_that_was_written(provider: str) -> None:
    """An API server gets the lease's own name, and answers by it."""
    resources, silent = ASK[provider](_with_one(provider, CLUSTER)).read()
    assert (len(resources), silent) == (1, ())


@pytest.mark.parametrize("provider", [name for name in ASK if name != "api-server"])
@pytest.mark.parametrize("stranger", [f"{OTHER.name}-0a1b2c3d", *STRANGERS])
def test_no_provider_takes_another_name_for_this_lease(provider: str, stranger: str) -> None:
    assert ASK[provider](_with_one(provider, stranger)).read() == ((), ())


RUNS = ["1", "12345678901", "18446744073709551615", "local-AB_cd", "", "ünï", "a" * 300]


@pytest.mark.parametrize("run", RUNS)
def test_the_written_name_is_read_back(run: str) -> None:
    owner = Owner(repository="cvl/ci", run=run, job="train", leg='{"gpu": "L4"}')
    name = f"{owner.name}-{owner.user_id}"
    expected = ClusterName(lease=owner.name, user_id=owner.user_id)
    assert [parse_name(f"{name}{rest}") for rest in ("", "-head", "-head-1a2b3c4d-compute")] == [expected] * 3
    assert str(expected) == name
    assert len(owner.name) <= 26
    assert re.fullmatch("[a-z0-9-]+", owner.name)
    assert re.fullmatch(ANY_CLUSTER.replace("*", ".*").replace("?", "."), name)
    assert name.startswith(PREFIX)


@pytest.mark.parametrize("name", [*STRANGERS, "", "CVL-1-0badcafe-0a1b2c3d", "cvl--0badcafe-0a1b2c3d"])
def test_another_name_is_not_read(name: str) -> None:
    assert parse_name(name) is None


def test_the_name_of_a_run_stays_what_it_was() -> None:
    """A record or a machine of an earlier version is found by the same name."""
    assert OURS.name == LEASE
