"""Lambda, in the shapes of its Cloud API 1.10: all machines in one answer, known by name alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from cvl_ci.clouds.lambda_cloud.inventory import API, KEY_FILE, LambdaCloud, key_from
from cvl_ci.clouds.provider import ProviderInventory
from tests.clouds.inventory.cases import CLUSTER, OTHER_CLUSTER, OURS, error, find, ids


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def machine(name: str | None, *, status: str = "active", number: int = 1) -> dict[str, Any]:
    """As the API's own example has it (docs.lambda.ai/api/cloud, listInstances)."""
    return {
        "id": f"0920582c7ff041399e34823a0be6254{number}",
        "name": name,
        "ip": "198.51.100.2",
        "status": status,
        "ssh_key_names": ["My SSH key"],
        "file_system_names": [],
        "region": {"name": "us-west-1", "description": "California, USA"},
        "instance_type": {"name": "gpu_1x_a10", "description": "1x A10 (24 GB PCIe)", "price_cents_per_hour": 75},
        "hostname": "198.51.100.2",
        "tags": [],
    }


def lambda_cloud() -> LambdaCloud:
    return LambdaCloud(lambda: "secret-key")


def test_the_machines_of_one_lease_are_found_by_name_head_and_workers(api: responses.RequestsMock) -> None:
    every = [
        machine(f"{CLUSTER}-head", number=1),
        machine(f"{CLUSTER}-worker", number=2, status="booting"),
        machine(f"{OTHER_CLUSTER}-head", number=3),
        machine("somebody's", number=4),
        machine(None, number=5),
        machine(f"{CLUSTER}-head", number=6, status="terminated"),
    ]
    api.get(f"{API}/instances", json={"data": every})
    result = find(lambda_cloud())
    assert ids(result) == {every[0]["id"], every[1]["id"]}
    assert {resource.region for resource in result.read()[0]} == {"us-west-1"}
    assert api.calls[0].request.headers["Authorization"] == "Bearer secret-key"
    (request,) = result.asked
    assert len(request.leftovers) == 2


def test_of_anybody_s_all_that_is_named_like_ours_is_found_without_our_labels(api: responses.RequestsMock) -> None:
    every = [machine(f"{CLUSTER}-head", number=1), machine(f"{OTHER_CLUSTER}-head", number=2), machine("x", number=3)]
    api.get(f"{API}/instances", json={"data": every})
    result = find(lambda_cloud(), None)
    assert ids(result) == {every[0]["id"], every[1]["id"]}
    assert not any("cvl-ci-lease" in resource.labels for resource in result.read()[0])


def test_none_left_is_clean(api: responses.RequestsMock) -> None:
    api.get(f"{API}/instances", json={"data": []})
    (request,) = find(lambda_cloud()).asked
    assert request.clean


def test_what_is_ending_still_counts_and_is_not_ended_again(api: responses.RequestsMock) -> None:
    api.get(f"{API}/instances", json={"data": [machine(f"{CLUSTER}-head", status="terminating")]})
    result = find(lambda_cloud())
    assert result.asked[0].leftovers
    ProviderInventory(lambda_cloud()).remove(result.read()[0])
    assert len(api.calls) == 1


def test_each_is_ended_by_its_id_and_one_refusal_keeps_no_other(api: responses.RequestsMock) -> None:
    every = [machine(f"{CLUSTER}-head", number=1), machine(f"{CLUSTER}-worker", number=2)]
    api.get(f"{API}/instances", json={"data": every})
    refused = {"error": {"code": "global/account-inactive", "message": "Your account is inactive."}}
    ended: list[str] = []

    def end(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        (name,) = json.loads(request.body or "{}")["instance_ids"]
        if name == every[0]["id"]:
            return (403, {}, json.dumps(refused))
        ended.append(name)
        return (200, {}, json.dumps({"data": {"terminated_instances": []}}))

    api.add_callback("POST", f"{API}/instance-operations/terminate", callback=end)
    inventory = ProviderInventory(lambda_cloud())
    with pytest.raises(Exception, match="Your account is inactive") as raised:
        inventory.remove(find(lambda_cloud()).read()[0])
    assert every[0]["id"] in str(raised.value)
    assert every[1]["id"] not in str(raised.value)
    assert ended == [every[1]["id"]]


def test_a_machine_that_is_gone_meanwhile_is_no_refusal(api: responses.RequestsMock) -> None:
    api.get(f"{API}/instances", json={"data": [machine(f"{CLUSTER}-head")]})
    gone = {"error": {"code": "global/object-does-not-exist", "message": "Specified instance does not exist."}}
    api.post(f"{API}/instance-operations/terminate", json=gone, status=404)
    ProviderInventory(lambda_cloud()).remove(find(lambda_cloud()).read()[0])


def test_a_busy_api_is_asked_again(api: responses.RequestsMock) -> None:
    api.get(f"{API}/instances", status=429, headers={"Retry-After": "0"})
    api.get(f"{API}/instances", json={"data": []})
    (request,) = find(lambda_cloud()).asked
    assert request.clean


def test_a_key_that_is_not_accepted_proves_nothing_and_is_not_shown(api: responses.RequestsMock) -> None:
    body = {"error": {"code": "global/invalid-api-key", "message": "API key was invalid, expired, or deleted."}}
    api.get(f"{API}/instances", json=body, status=401)
    text = error(find(lambda_cloud(), OURS.name))
    assert "expired" in text
    assert "secret-key" not in text


def test_no_key_proves_nothing(tmp_path: Path) -> None:
    assert KEY_FILE in error(find(LambdaCloud(lambda: key_from(tmp_path))))


def test_the_key_is_read_as_skypilot_reads_it(tmp_path: Path) -> None:
    (tmp_path / ".lambda_cloud").mkdir()
    (tmp_path / KEY_FILE).write_text("api_key = secret_x.y\n")
    assert key_from(tmp_path) == "secret_x.y"
    (tmp_path / KEY_FILE).write_text("nothing\n")
    with pytest.raises(ValueError, match="no api_key"):
        key_from(tmp_path)
