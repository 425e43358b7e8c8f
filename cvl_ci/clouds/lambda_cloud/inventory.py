"""Lambda: machines by name, because SkyPilot labels none (sky/provision/lambda_cloud: CLUSTER-head, -worker).

Shapes after Lambda's Cloud API 1.10 (docs.lambda.ai/api/cloud): `GET /api/v1/instances` → {"data": [{id, name, status,
region: {name}, instance_type: {name}, tags}]}, all in one answer; `POST /api/v1/instance-operations/terminate` with
{"instance_ids"} → {"data": {"terminated_instances"}}; errors: {"error": {code, message}}. 429 above one a second.
`data` is always present, `[]` without machines (SkyPilot relies on it too, sky/provision/lambda_cloud/
lambda_utils.py). Disks and addresses belong to a machine and go with it; only a person makes a filesystem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvl_ci.clouds import http
from cvl_ci.clouds.key_session import KeySession
from cvl_ci.clouds.provider import ProviderInventory, ScopeAnswer, cluster_of, is_ours, with_cluster_label
from cvl_ci.model.location import Location
from cvl_ci.ports import Inventory, Resource, ResourceKind

API = "https://cloud.lambda.ai/api/v1"
KEY_FILE = ".lambda_cloud/lambda_keys"
_GONE, _ENDING = "terminated", "terminating"


class LambdaCloud:
    """The inventory of Lambda. `key` reads the API key at its first use."""

    name = "lambda"
    kinds = ("machines",)
    patience_seconds = 300.0

    def __init__(self, key: Callable[[], str]) -> None:
        self._api = KeySession(key)

    def scopes(self, locations: Sequence[Location]) -> Sequence[str]:
        """Return one scope: one answer lists all regions."""
        return ["every region"]

    def list_resources(self, scope: str, *, lease: str | None) -> ScopeAnswer:
        resources = []
        for machine in self._api.list_objects("GET", f"{API}/instances", under=("data",), of="machines"):
            cluster = cluster_of(str(machine.get("name") or ""))  # optional: a person may omit it
            labels = {tag["key"]: tag["value"] for tag in machine.get("tags") or []}
            has_ended = http.text(machine, "status", of="machines") == _GONE
            if not has_ended and is_ours(labels, cluster, lease=lease):
                resources.append(with_cluster_label(_resource(machine, labels), cluster))
        return ScopeAnswer(resources=resources)

    def end(self, resource: Resource) -> None:
        if resource.state == _ENDING:
            return
        self._api.end("POST", f"{API}/instance-operations/terminate", json={"instance_ids": [resource.id]})


def open_inventory(environ: Mapping[str, str]) -> Inventory:
    return ProviderInventory(LambdaCloud(lambda: key_from(Path(environ.get("HOME", "/root")))))


def key_from(home: Path) -> str:
    """Return the API key, read as SkyPilot does: `api_key = KEY` (sky/provision/lambda_cloud/lambda_utils.py)."""
    lines = [line.partition(" = ") for line in (home / KEY_FILE).read_text(encoding="utf-8").splitlines()]
    values = [value.strip() for name, _, value in lines if name.strip() == "api_key"]
    if not values:
        raise ValueError(f"~/{KEY_FILE} holds no api_key")
    return values[0]


def _resource(machine: Mapping[str, Any], labels: Mapping[str, str]) -> Resource:
    return Resource(
        provider="lambda",
        region=machine["region"]["name"],
        kind=ResourceKind.MACHINE,
        id=machine["id"],
        state=machine["status"],
        labels=labels,
        instance_type=machine["instance_type"]["name"],
    )
