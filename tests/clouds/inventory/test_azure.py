"""Azure, in the shapes of its Resource Manager: a cluster is a resource group, and goes as one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import responses
from responses import matchers

from cvl_ci.clouds.azure.inventory import MANAGEMENT, VERSIONS, Azure, Token, token_from
from cvl_ci.clouds.provider import ProviderInventory
from cvl_ci.model.resource import ResourceKind
from tests.clouds.inventory.cases import CLUSTER, LABELS, OTHER_CLUSTER, OURS, error, find

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
BASE = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{BASE}/resourceGroups/{CLUSTER}-eastus"


def group(name: str = f"{CLUSTER}-eastus", *, state: str = "Succeeded") -> dict[str, Any]:
    return {
        "id": f"{BASE}/resourceGroups/{name}",
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": "eastus",
        "properties": {"provisioningState": state},
    }


def machine(inside: str = GROUP.upper().replace("SUBSCRIPTIONS", "subscriptions"), **tags: str) -> dict[str, Any]:
    """Azure answers with a group's name in capitals now and then."""
    return {
        "id": f"{inside}/providers/Microsoft.Compute/virtualMachines/head",
        "name": "head",
        "location": "eastus",
        "tags": tags or dict(LABELS),
        "properties": {
            "provisioningState": "Succeeded",
            "hardwareProfile": {"vmSize": "Standard_NC4as_T4_v3"},
            "timeCreated": "2025-11-24T16:00:00.1234567+00:00",
        },
    }


def disk(inside: str = GROUP, *, state: str = "Attached", **more: Any) -> dict[str, Any]:
    path = f"{inside}/providers/Microsoft.Compute/disks/os"
    return {"id": path, "name": "os", "location": "eastus", "properties": {"diskState": state}, **more}


class Api:
    def __init__(self, mock: responses.RequestsMock) -> None:
        self.mock = mock

    def answer(self, *, but: Sequence[str] = (), **values: Sequence[dict[str, Any]]) -> None:
        """`groups`, `machines`, `disks`, `addresses`; all else is empty. `but`: those a test answers itself."""
        names = ("groups", "machines", "disks", "addresses")
        for name, (path, version) in zip(names, VERSIONS.values(), strict=True):
            if name in but:
                continue
            query = matchers.query_param_matcher({"api-version": version})
            self.mock.get(f"{MANAGEMENT}{BASE}/{path}", json={"value": list(values.get(name, []))}, match=[query])


@pytest.fixture
def api() -> Iterator[Api]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield Api(mock)


def azure() -> Azure:
    return Azure(lambda: Token(text="eyJ.secret", subscription=SUBSCRIPTION, expires_at=time.time() + 3600))


def test_a_cluster_is_its_group_and_all_in_it_which_share_its_machine_s_labels(api: Api) -> None:
    api.answer(
        groups=[group(), group("cloud-shell")], machines=[machine()], disks=[disk(), disk(f"{BASE}/resourceGroups/x")]
    )
    result = find(azure())
    assert [item.kind for item in result.read()[0]] == [
        ResourceKind.RESOURCE_GROUP,
        ResourceKind.MACHINE,
        ResourceKind.DISK,
    ]
    assert {item.labels["cvl-ci-lease"] for item in result.read()[0]} == {OURS.name}
    assert result.read()[0][1].instance_type == "Standard_NC4as_T4_v3"
    assert result.read()[0][1].created_at == pytest.approx(1_764_000_000.12, abs=0.01)
    assert result.asked[0].region == f"subscription {SUBSCRIPTION}"


def test_a_group_that_is_left_empty_is_found_by_its_name_alone(api: Api) -> None:
    api.answer(groups=[group(), group(f"{OTHER_CLUSTER}-eastus")])
    assert [item.id for item in find(azure()).read()[0]] == [GROUP]
    anybody_s = find(azure(), None).read()[0]
    assert len(anybody_s) == 2
    assert not any("cvl-ci-lease" in item.labels for item in anybody_s), "it is reported, and not ended by a reaper"


def test_the_group_is_deleted_and_nothing_in_it_one_by_one(api: Api) -> None:
    api.answer(groups=[group()], machines=[machine()], disks=[disk()])
    forced = matchers.query_param_matcher(
        {"api-version": "2021-04-01", "forceDeletionTypes": "Microsoft.Compute/virtualMachines"}
    )
    api.mock.delete(f"{MANAGEMENT}{GROUP}", status=202, match=[forced])
    ProviderInventory(azure()).remove(find(azure()).read()[0])
    assert [call.request.method for call in api.mock.calls].count("DELETE") == 1


def test_a_group_that_is_being_deleted_costs_nothing_of_itself_and_is_not_deleted_again(api: Api) -> None:
    api.answer(groups=[group(state="Deleting")])
    result = find(azure())
    assert [item.ending for item in result.read()[0]] == [True]
    ProviderInventory(azure()).remove(result.read()[0])


def test_a_disk_in_a_group_that_is_being_deleted_still_counts(api: Api) -> None:
    api.answer(groups=[group(state="Deleting")], disks=[disk(state="Unattached")])
    assert len(find(azure()).asked[0].leftovers) == 1


def test_in_a_group_of_yours_our_machine_goes_alone_and_its_disk_once_it_is_loose(api: Api) -> None:
    yours = f"{BASE}/resourceGroups/team"
    api.answer(
        groups=[group("team")],
        machines=[machine(yours)],
        disks=[disk(yours, state="Attached", tags=dict(LABELS)), disk(yours, state="Unattached")],
    )
    result = find(azure())
    assert [item.kind for item in result.read()[0]] == [ResourceKind.MACHINE, ResourceKind.DISK]
    api.mock.delete(f"{MANAGEMENT}{yours}/providers/Microsoft.Compute/virtualMachines/head", status=202)
    ProviderInventory(azure()).remove(result.read()[0])


URL = f"{MANAGEMENT}{BASE}/resourcegroups"
FOLLOWING = f"{URL}?api-version=2021-04-01&%24skiptoken=abc"


def first_page(api: Api, following: str) -> None:
    plain = matchers.query_param_matcher({"api-version": "2021-04-01"})
    api.mock.get(URL, json={"value": [group("x")], "nextLink": following}, match=[plain])
    api.answer(but=["groups"])


def test_all_pages_are_read(api: Api) -> None:
    first_page(api, FOLLOWING)
    second = matchers.query_param_matcher({"api-version": "2021-04-01", "$skiptoken": "abc"})
    api.mock.get(URL, json={"value": [group()]}, match=[second])
    assert [item.id for item in find(azure()).read()[0]] == [GROUP]


def test_our_token_goes_to_azure_only(api: Api) -> None:
    first_page(api, "https://elsewhere.example.com/next")
    assert "on another server" in error(find(azure()))
    assert not any("elsewhere" in str(call.request.url) for call in api.mock.calls)


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [(401, "ExpiredAuthenticationToken", "expired"), (403, "AuthorizationFailed", "may not"), (404, "NotFound", "404")],
)
def test_one_question_that_is_refused_leaves_the_subscription_unanswered(
    status: int, code: str, why: str, api: Api
) -> None:
    body = {"error": {"code": code, "message": "The client does not have authorization."}}
    api.mock.get(f"{MANAGEMENT}{BASE}/providers/Microsoft.Compute/disks", json=body, status=status)
    api.answer()
    text = error(find(azure()))
    assert why in text
    assert "eyJ" not in text


def test_a_busy_subscription_is_asked_again(api: Api) -> None:
    url = f"{MANAGEMENT}{BASE}/resourcegroups"
    api.mock.get(
        url, status=429, headers={"Retry-After": "0"}, json={"error": {"code": "SubscriptionRequestsThrottled"}}
    )
    api.answer()
    assert find(azure()).asked[0].clean


def test_a_lock_on_the_group_is_told_as_azure_says_it(api: Api) -> None:
    api.answer(groups=[group()])
    body = {"error": {"code": "ScopeLocked", "message": "The scope cannot be deleted because it is locked."}}
    api.mock.delete(f"{MANAGEMENT}{GROUP}", status=409, json=body)
    with pytest.raises(Exception, match="it is locked"):
        ProviderInventory(azure()).remove(find(azure()).read()[0])


def test_the_token_is_az_s_and_a_new_one_is_asked_for_before_it_is_over(api: Api) -> None:
    requests: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        requests.append(command)
        answer = {
            "accessToken": f"eyJ.{len(requests)}",
            "subscription": SUBSCRIPTION,
            "expires_on": int(time.time()) + 60,
        }
        return json.dumps(answer)

    api.answer()
    find(Azure(lambda: token_from(run)))
    assert requests[0][:3] == ["az", "account", "get-access-token"]
    assert len(requests) > 1
    assert "eyJ" not in repr(token_from(run))


def test_az_that_is_not_logged_in_proves_nothing() -> None:
    def run(command: Sequence[str]) -> str:
        raise OSError("`az account get-access-token`: ERROR: Please run 'az login' to setup account.")

    assert "az login" in error(find(Azure(lambda: token_from(run))))
