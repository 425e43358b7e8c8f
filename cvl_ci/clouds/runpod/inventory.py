"""RunPod: pods by name, because SkyPilot labels none (sky/provision/runpod/instance.py: CLUSTER-head, -worker).

The list comes from GraphQL, as for SkyPilot (sky/provision/runpod/utils.py: `query myPods`, read as
`['data']['myself']['pods']`). An account without pods is {"data": {"myself": {"pods": []}}}. RunPod's REST API
sends a bare `[]` instead, which any server might. desiredStatus: RUNNING | EXITED | TERMINATED | ... A removal goes
through REST (docs.runpod.io/api-reference/pods): `DELETE /pods/{id}` → 204. An EXITED pod still pays for its disk. Its
own volume goes with it; only a person makes a network volume.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvl_ci.clouds import http
from cvl_ci.clouds.key_session import KeySession
from cvl_ci.clouds.provider import ProviderInventory, ScopeAnswer, cluster_of, is_ours, with_cluster_label
from cvl_ci.model.location import Location
from cvl_ci.ports import Inventory, Resource, ResourceKind

API = "https://rest.runpod.io/v1"
GRAPHQL = "https://api.runpod.io/graphql"
QUERY = "query myPods { myself { pods { id name desiredStatus } } }"
"""SkyPilot's own query, with the fields that we read."""
KEY_FILE = ".runpod/config.toml"
_GONE = "TERMINATED"


class RunPod:
    """The inventory of RunPod. `key` reads the API key at its first use."""

    name = "runpod"
    kinds = ("pods",)
    patience_seconds = 180.0

    def __init__(self, key: Callable[[], str]) -> None:
        self._api = KeySession(key)

    def scopes(self, locations: Sequence[Location]) -> Sequence[str]:
        """Return one scope: one answer lists all regions."""
        return ["every region"]

    def list_resources(self, scope: str, *, lease: str | None) -> ScopeAnswer:
        resources = []
        under = ("data", "myself", "pods")
        for pod in self._api.list_objects("POST", GRAPHQL, json={"query": QUERY}, under=under, of="pods"):
            cluster = cluster_of(str(http.has(pod, "name", of="pods") or ""))  # a pod without a name is not ours
            if pod.get("desiredStatus") != _GONE and is_ours({}, cluster, lease=lease):
                resources.append(with_cluster_label(_resource(pod), cluster))
        return ScopeAnswer(resources=resources)

    def end(self, resource: Resource) -> None:
        self._api.end("DELETE", f"{API}/pods/{resource.id}")


def open_inventory(environ: Mapping[str, str]) -> Inventory:
    return ProviderInventory(RunPod(lambda: key_from(Path(environ.get("HOME", "/root")))))


def key_from(home: Path) -> str:
    """Return the API key: `[default]` `api_key = "KEY"`, as RunPod's own client writes it (sky/clouds/runpod.py)."""
    match = re.search(r'^api_key\s*=\s*("[^"\n]*")', (home / KEY_FILE).read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError(f"~/{KEY_FILE} holds no api_key")
    return str(json.loads(match[1]))


def _resource(pod: Mapping[str, Any]) -> Resource:
    return Resource(
        provider="runpod",
        region="",
        kind=ResourceKind.MACHINE,
        id=pod["id"],
        state=str(pod.get("desiredStatus") or "unknown"),
        labels={},
    )
