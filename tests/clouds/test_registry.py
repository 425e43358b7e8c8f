"""A whole new cloud is one folder (tests/clouds/acme) and one line in the registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import responses
from responses import matchers

from cvl_ci.clouds import credentials as cloud_credentials
from cvl_ci.clouds import http, registry
from cvl_ci.clouds.composite import Inventories
from cvl_ci.clouds.registry import RegisteredCloud
from cvl_ci.errors import EngineError
from cvl_ci.model.location import Location
from tests.clouds.acme.credentials import ACME
from tests.clouds.acme.inventory import API, open_inventory
from tests.clouds.credentials.machine import machine
from tests.clouds.inventory.cases import CLUSTER
from tests.clouds.inventory.cases import OURS as OWNER

KEY = "acme-0123456789"
OURS = {"name": f"{CLUSTER}-head", "state": "running"}
FOREIGN = {"name": "database", "state": "running"}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    line = RegisteredCloud(credentials=ACME, inventory=open_inventory)
    monkeypatch.setattr(registry, "CLOUDS", (*registry.CLOUDS, line))
    monkeypatch.setattr(http, "BACKOFF", replace(http.BACKOFF, tries=1))


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def inventory(home: Path) -> Inventories:
    (home / ".acme").mkdir(exist_ok=True)
    (home / ".acme" / "key").write_text(KEY)
    return registry.all_inventories({"HOME": str(home)})


def test_a_check_knows_it_and_its_credentials_are_written(tmp_path: Path) -> None:
    masked: list[str] = []
    [before] = cloud_credentials.check_clouds(machine(tmp_path), ["acme"], provable_clouds=registry.provable_clouds())
    assert (before.usable, before.missing) == (False, ("any credentials",))
    place = machine(tmp_path, ACME_KEY=KEY)
    cloud_credentials.set_up(
        place,
        ["acme"],
        provable_clouds=registry.provable_clouds(),
        mask=lambda *texts: masked.extend(texts),
        adopt=lambda _: None,
        required=True,
    )
    text = place.expand("~/.acme/key")
    assert (text.read_text(), text.stat().st_mode & 0o777) == (KEY, 0o600)
    assert masked == [KEY]


def test_a_release_and_a_sweep_ask_it_with_its_key_and_end_what_is_ours(
    tmp_path: Path, api: responses.RequestsMock
) -> None:
    shows_key = matchers.header_matcher({"Authorization": f"Bearer {KEY}"})
    api.get(f"{API}/servers", json={"servers": [OURS, FOREIGN]}, match=[shows_key])
    api.delete(f"{API}/servers/{CLUSTER}-head", status=204, match=[shows_key])
    opened = inventory(tmp_path)
    result = opened.find(lease=OWNER.name, locations=[Location(cloud="acme")])
    resources, silent = result.read()
    assert ([item.id for item in resources], bool(silent)) == ([f"{CLUSTER}-head"], False)
    assert (list(result.unproved), result.patience_seconds) == ([], 60.0)
    opened.remove(resources)


@pytest.mark.parametrize("body", ["[]", "{}", "null", '{"servers": null}', '{"servers": [1]}', "<html>", ""])
def test_an_answer_without_its_member_proves_nothing(tmp_path: Path, api: responses.RequestsMock, body: str) -> None:
    api.get(f"{API}/servers", body=body)
    [request] = inventory(tmp_path).find(lease=OWNER.name, locations=[Location(cloud="acme")]).asked
    assert request.error


def test_a_key_that_is_not_there_and_a_refusal_are_errors(tmp_path: Path, api: responses.RequestsMock) -> None:
    [request] = (
        registry.all_inventories({"HOME": str(tmp_path)})
        .find(lease=OWNER.name, locations=[Location(cloud="acme")])
        .asked
    )
    assert "No such file" in str(request.error)
    api.get(f"{API}/servers", json={"servers": [OURS]})
    api.delete(f"{API}/servers/{CLUSTER}-head", status=403, body=json.dumps({"error": "not yours"}))
    opened = inventory(tmp_path)
    with pytest.raises(EngineError, match="not yours"):
        opened.remove(opened.find(lease=OWNER.name, locations=[Location(cloud="acme")]).read()[0])


def test_a_cloud_without_an_inventory_is_not_one_that_a_run_may_go_to() -> None:
    assert "acme" in registry.provable_clouds()
    assert "nebius" not in registry.provable_clouds()
    assert "api-server" in registry.provable_clouds()
