"""RunPod, in the shapes of its REST API v1: all pods in one answer, known by name alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from cvl_ci.clouds import http
from cvl_ci.clouds.provider import ProviderInventory
from cvl_ci.clouds.runpod.inventory import API, GRAPHQL, KEY_FILE, QUERY, RunPod, key_from
from tests.clouds.inventory.cases import CLUSTER, OTHER_CLUSTER, error, find, ids


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def pod(name: str | None, *, number: int = 1, status: str = "RUNNING") -> dict[str, Any]:
    """The fields that are asked for."""
    return {"id": f"xedezhzb9la3y{number}", "name": name, "desiredStatus": status}


def of_account(pods: list[dict[str, Any]]) -> dict[str, Any]:
    """As SkyPilot reads it: sky/provision/runpod/utils.py, _sky_get_pods."""
    return {"data": {"myself": {"pods": pods}}}


def runpod() -> RunPod:
    return RunPod(lambda: "secret-key")


def test_the_pods_of_one_lease_are_found_by_name_and_a_stopped_one_is_still_billed(
    api: responses.RequestsMock,
) -> None:
    every = [
        pod(f"{CLUSTER}-head", number=1),
        pod(f"{CLUSTER}-worker", number=2, status="EXITED"),
        pod(f"{OTHER_CLUSTER}-head", number=3),
        pod("mine", number=4),
        pod(None, number=6),
        pod(f"{CLUSTER}-head", number=5, status="TERMINATED"),
    ]
    api.post(GRAPHQL, json=of_account(every))
    result = find(runpod())
    assert ids(result) == {every[0]["id"], every[1]["id"]}
    assert {item.state for item in result.read()[0]} == {"RUNNING", "EXITED"}


@pytest.mark.sky
def test_the_question_asks_for_nothing_that_skypilot_s_own_does_not() -> None:
    from sky.provision.runpod import utils

    request, skypilots = QUERY.split(), utils._QUERY_POD.split()
    assert set(request) <= set(skypilots)


def test_each_is_deleted_and_what_is_gone_meanwhile_is_no_refusal(api: responses.RequestsMock) -> None:
    api.post(GRAPHQL, json=of_account([pod(f"{CLUSTER}-head", number=1), pod(f"{CLUSTER}-worker", number=2)]))
    api.delete(f"{API}/pods/xedezhzb9la3y1", status=204)
    api.delete(f"{API}/pods/xedezhzb9la3y2", status=404, json={"error": "pod not found"})
    ProviderInventory(runpod()).remove(find(runpod()).read()[0])


def test_a_refusal_is_told_with_its_reason(api: responses.RequestsMock) -> None:
    api.post(GRAPHQL, json=of_account([pod(f"{CLUSTER}-head")]))
    api.delete(f"{API}/pods/xedezhzb9la3y1", status=400, json={"error": "pod is locked"})
    with pytest.raises(Exception, match="pod is locked"):
        ProviderInventory(runpod()).remove(find(runpod()).read()[0])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"status": 401, "json": {"error": "unauthorized"}}, "expired"),
        ({"body": requests.ConnectionError("reset by peer")}, "reset by peer"),
        ({"status": 200, "body": "<html>maintenance</html>"}, "no JSON"),
        ({"status": 200, "json": {"unexpected": "shape"}}, ""),
    ],
)
def test_no_clear_answer_is_never_clean(answer: dict[str, Any], why: str, api: responses.RequestsMock) -> None:
    api.post(GRAPHQL, **answer)
    assert why in error(find(runpod()))


def test_an_api_that_stays_down_is_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF", replace(http.BACKOFF, tries=2))
    with responses.RequestsMock() as api:
        api.post(GRAPHQL, status=503)
        api.post(GRAPHQL, status=503)
        assert "503" in error(find(runpod()))


def test_the_key_is_read_as_runpod_s_client_reads_it(tmp_path: Path) -> None:
    (tmp_path / ".runpod").mkdir()
    (tmp_path / KEY_FILE).write_text('[default]\napi_key = "rp_x"\n')
    assert key_from(tmp_path) == "rp_x"
    (tmp_path / KEY_FILE).write_text("[default]\n")
    with pytest.raises(ValueError, match="no api_key"):
        key_from(tmp_path)
