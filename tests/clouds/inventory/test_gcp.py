"""GCP, in the shapes of Compute Engine v1 and Cloud TPU v2: every zone at once, and one that is down proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import responses
from responses import matchers

from cvl_ci.clouds import http
from cvl_ci.clouds.gcp.inventory import COMPUTE, LISTS, TPU, Gcp
from cvl_ci.clouds.provider import ProviderInventory
from cvl_ci.model.resource import ResourceKind
from tests.clouds.inventory.cases import CLUSTER, LABELS, OTHER_LABELS, OURS, error, find, ids

if TYPE_CHECKING:
    from requests import Session

PROJECT = "my-project"
AGGREGATED = f"{COMPUTE}/projects/{PROJECT}/aggregated"
NODES = f"{TPU}/projects/{PROJECT}/locations/-/nodes"
ZONE = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/us-central1-a"
PLACES = {"locations": [{"name": f"projects/{PROJECT}/locations/us-central2-b", "locationId": "us-central2-b"}]}
EMPTY_SCOPE = {
    "warning": {
        "code": "NO_RESULTS_ON_PAGE",
        "message": "There are no results for scope 'zones/us-east1-b' on this page.",
        "data": [{"key": "scope", "value": "zones/us-east1-b"}],
    }
}
HEAD = f"{CLUSTER}-head-1a2b3c4d-compute"


def instance(name: str = HEAD, labels: dict[str, str] | None = None, status: str = "RUNNING") -> dict[str, Any]:
    return {
        "kind": "compute#instance",
        "id": "1234567890123456789",
        "creationTimestamp": "2025-11-24T08:00:00.000-08:00",
        "name": name,
        "zone": ZONE,
        "status": status,
        "machineType": f"{ZONE}/machineTypes/g2-standard-4",
        "labels": {**LABELS, "skypilot-cluster-name": CLUSTER} if labels is None else labels,
    }


def disk(name: str = HEAD, *, users: bool = True) -> dict[str, Any]:
    there = {"users": [f"{ZONE}/instances/{name}"]} if users else {}
    return {"kind": "compute#disk", "name": name, "zone": ZONE, "status": "READY", "sizeGb": "100", **there}


def page(kind: str, *found: dict[str, Any], **more: Any) -> dict[str, Any]:
    items = {"zones/us-central1-a": {kind: list(found)} if found else EMPTY_SCOPE, "zones/us-east1-b": EMPTY_SCOPE}
    return {"kind": LISTS[kind], "items": items, **more}


class Api:
    """`pages`: kind → what each of its questions gets; all else is empty."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.mock = mock

    def answer(self, **pages: dict[str, Any]) -> None:
        for kind in ("instances", "disks", "addresses"):
            self.mock.get(f"{AGGREGATED}/{kind}", json=pages.get(kind, page(kind)))
        self.mock.get(NODES, json=pages.get("nodes", {}))
        self.mock.get(NODES.removesuffix("/-/nodes"), json=PLACES)


@pytest.fixture
def api() -> Iterator[Api]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield Api(mock)


def gcp() -> Gcp:
    return Gcp(lambda: (http.session("Bearer ya29.secret"), PROJECT))


def test_a_machine_and_its_disk_without_a_label_are_found_with_place_type_and_age(api: Api) -> None:
    api.answer(instances=page("instances", instance()), disks=page("disks", disk()))
    result = find(gcp())
    assert ids(result) == {f"zones/us-central1-a/{HEAD}"}
    assert [item.kind for item in result.read()[0]] == [ResourceKind.MACHINE, ResourceKind.DISK]
    machine, loose = result.read()[0]
    assert (machine.region, machine.instance_type) == ("us-central1", "g2-standard-4")
    assert machine.created_at == 1_764_000_000.0
    assert loose.labels["cvl-ci-lease"] == OURS.name, "a disk is its machine's"
    assert result.asked[0].region == f"project {PROJECT}"
    assert result.asked[0].kinds == ("instances", "disks", "addresses", "TPU nodes")


def test_the_lease_is_asked_for_by_label_and_by_name_in_every_zone_that_answers(api: Api) -> None:
    api.answer()
    assert find(gcp()).asked[0].clean
    requests = [call.request.params for call in api.mock.calls if "/instances" in str(call.request.url)]  # type: ignore[attr-defined]
    assert [item["filter"] for item in requests] == [f'labels.cvl-ci-lease="{OURS.name}"', f'name eq "{OURS.name}-.*"']
    assert {item["returnPartialSuccess"] for item in requests} == {"true"}


def test_a_label_alone_is_enough_and_another_lease_s_is_not(api: Api) -> None:
    renamed = instance("renamed")
    other = instance("other", {**OTHER_LABELS, "skypilot-cluster-name": "other"})
    api.answer(instances=page("instances", renamed, other))
    assert ids(find(gcp())) == {"zones/us-central1-a/renamed"}


def test_of_anybody_s_leases_all_are_found_and_nobody_else_s_machines(api: Api) -> None:
    theirs = instance("web", {})
    other = instance("other", dict(OTHER_LABELS))
    api.answer(
        instances=page("instances", instance(), other, theirs), disks=page("disks", disk("cvl-data", users=False))
    )
    result = find(gcp(), None)
    assert {item.id for item in result.read()[0]} == {f"zones/us-central1-a/{HEAD}", "zones/us-central1-a/other"}


def test_all_pages_are_read(api: Api) -> None:
    first = page("instances", instance("one"), nextPageToken="second")
    second = page("instances", instance("two"))
    token = matchers.query_param_matcher({"pageToken": "second"}, strict_match=False)
    for _ in range(2):  # for each of the two questions
        api.mock.get(f"{AGGREGATED}/instances", json=second, match=[token])
    api.answer(instances=first)
    assert ids(find(gcp())) == {"zones/us-central1-a/one", "zones/us-central1-a/two"}


def test_pages_without_end_prove_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAGES", 3)
    api.answer(instances=page("instances", instance(), nextPageToken="again"))
    assert "no last page" in error(find(gcp()))


def test_addresses_that_may_not_be_looked_at_are_said_and_fail_no_release(api: Api) -> None:
    """SkyPilot's own minimal role does not have it."""
    denied = {"error": {"code": 403, "message": "Required 'compute.addresses.list' permission for 'projects/p'"}}
    api.mock.get(f"{AGGREGATED}/addresses", json=denied, status=403)
    api.answer()
    (request,) = find(gcp()).asked
    assert request.clean
    assert "addresses" not in request.kinds
    assert "no run makes one" in request.skipped[0]


@pytest.mark.parametrize("kind", ["addresses", "instances"])
def test_an_api_that_was_asked_too_often_is_not_clean_for_that(kind: str, api: Api) -> None:
    often = {"error": {"code": 403, "message": "Rate Limit Exceeded", "errors": [{"reason": "rateLimitExceeded"}]}}
    api.mock.get(f"{AGGREGATED}/{kind}", json=often, status=403)
    api.answer()
    assert "Rate Limit" in error(find(gcp()))


@pytest.mark.parametrize(
    "broken",
    [
        page("instances", instance(), unreachables=["zones/us-east1-b"]),
        {
            "kind": LISTS["instances"],
            "items": {
                "zones/us-central1-a": {"instances": [instance()]},
                "zones/z": {"warning": {"code": "UNREACHABLE"}},
            },
        },
    ],
)
def test_a_zone_that_is_down_hides_nothing_and_proves_nothing(broken: dict[str, Any], api: Api) -> None:
    api.answer(instances=broken)
    result = find(gcp())
    assert ids(result) == {f"zones/us-central1-a/{HEAD}"}
    assert "instances" in error(result)


def test_a_tpu_is_found_and_a_place_that_does_not_answer_about_them_is_said(api: Api) -> None:
    name = f"projects/{PROJECT}/locations/us-central2-b/nodes/{CLUSTER}-head-1a2b3c4d-tpu"
    node = {"name": name, "acceleratorType": "v5litepod-8", "state": "READY", "labels": dict(LABELS)}
    unlike = {"name": f"projects/{PROJECT}/locations/us-central2-b/nodes/theirs", "state": "READY"}
    api.answer(nodes={"nodes": [node, unlike], "unreachable": ["locations/us-east1-d"]})
    result = find(gcp())
    assert ids(result) == {name}
    assert result.read()[0][0].region == "us-central2"
    assert "us-east1-d" in error(result)


def test_a_project_without_the_tpu_api_has_none_and_that_is_said(api: Api) -> None:
    disabled = {"error": {"code": 403, "message": "Cloud TPU API has not been used", "status": "PERMISSION_DENIED"}}
    api.mock.get(NODES, json=disabled, status=403)
    api.answer()
    (request,) = find(gcp()).asked
    assert request.clean
    assert "TPU nodes" not in request.kinds
    assert "TPU nodes" in request.skipped[0]


def test_each_kind_is_deleted_where_it_is_and_a_disk_in_use_goes_with_its_machine(api: Api) -> None:
    region = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/regions/us-central1"
    address = {"name": "ip", "region": region, "status": "RESERVED", "labels": dict(LABELS)}
    node = {"name": f"projects/{PROJECT}/locations/z/nodes/n", "state": "READY", "labels": dict(LABELS)}
    api.answer(
        instances=page("instances", instance(), instance("ending", status="STOPPING")),
        disks=page("disks", disk(), disk(f"{CLUSTER}-data", users=False)),
        addresses={"kind": LISTS["addresses"], "items": {"regions/us-central1": {"addresses": [address]}}},
        nodes={"nodes": [node]},
    )
    base = f"{COMPUTE}/projects/{PROJECT}"
    api.mock.delete(f"{base}/zones/us-central1-a/instances/{HEAD}", json={"kind": "compute#operation"})
    api.mock.delete(f"{base}/zones/us-central1-a/disks/{CLUSTER}-data", status=404, json={"error": {"code": 404}})
    api.mock.delete(f"{base}/regions/us-central1/addresses/ip", json={"kind": "compute#operation"})
    api.mock.delete(f"{TPU}/{node['name']}", json={"done": False})
    ProviderInventory(gcp()).remove(find(gcp()).read()[0])
    assert len([call for call in api.mock.calls if call.request.method == "DELETE"]) == 4


def test_a_busy_api_is_asked_again_and_one_that_stays_busy_proves_nothing(api: Api) -> None:
    busy = {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}
    api.mock.get(f"{AGGREGATED}/instances", json=busy, status=429)
    api.answer(instances=page("instances", instance()))
    assert len(find(gcp()).read()[0]) == 1


def test_one_kind_that_is_refused_leaves_the_project_unanswered(api: Api) -> None:
    denied = {"error": {"code": 403, "message": "Required 'compute.disks.list' permission", "status": "FORBIDDEN"}}
    api.mock.get(f"{AGGREGATED}/disks", json=denied, status=403)
    api.answer()
    assert "compute.disks.list" in error(find(gcp()))


def test_credentials_that_have_expired_prove_nothing(api: Api) -> None:
    """google.auth's own session, with a token that GCP refuses and a refresh that it refuses too."""
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.credentials import Credentials

    uri = "https://oauth2.googleapis.com/token"
    credentials = Credentials("old", refresh_token="r", token_uri=uri, client_id="c", client_secret="s")  # type: ignore[no-untyped-call]
    api.mock.get(f"{AGGREGATED}/instances", status=401, json={"error": {"code": 401, "message": "Invalid Credentials"}})
    refused = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
    api.mock.post(uri, status=400, json=refused)

    def sign_in() -> tuple[Session, str]:
        session: Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        http.patient(session)
        return session, PROJECT

    assert "expired or revoked" in error(find(Gcp(sign_in)))


def test_no_project_or_no_credentials_prove_nothing() -> None:
    def sign_in() -> tuple[Session, str]:
        raise ValueError("no project is known")

    assert "no project is known" in error(find(Gcp(sign_in)))
