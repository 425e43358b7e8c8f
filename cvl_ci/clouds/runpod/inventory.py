"""RunPod: pods by name, since SkyPilot gives them no label (sky/provision/runpod/instance.py: CLUSTER-head, -worker).

What exists is asked by GraphQL, as SkyPilot asks it (sky/provision/runpod/utils.py: `query myPods`, read as
`['data']['myself']['pods']`): an account without pods is {"data": {"myself": {"pods": []}}}, where RunPod's REST API
gives a bare `[]`, which anybody might. desiredStatus: RUNNING | EXITED | TERMINATED | ... An end is asked by REST
(docs.runpod.io/api-reference/pods): `DELETE /pods/{id}` → 204. An EXITED pod still pays for its disk. Its own volume
goes with it; a network volume is only ever made by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvl_ci.clouds import http
from cvl_ci.clouds.provider import Look, cluster_of, is_ours, named
from cvl_ci.model.plan import Place
from cvl_ci.ports import Resource

if TYPE_CHECKING:
    from requests import Session

API = "https://rest.runpod.io/v1"
GRAPHQL = "https://api.runpod.io/graphql"
QUERY = "query myPods { myself { pods { id name desiredStatus } } }"
"""Of SkyPilot's own question, the fields that we read."""
KEY_FILE = ".runpod/config.toml"
_GONE = "TERMINATED"


class RunPod:
    """`key` reads the API key when it is first needed."""

    name = "runpod"
    kinds = ("pods",)
    patience_seconds = 180.0

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key

    @cached_property
    def _session(self) -> Session:
        return http.session(f"Bearer {self._key()}")

    def scopes(self, places: Sequence[Place]) -> Sequence[str]:
        """One answer holds every region."""
        return ["every region"]

    def look(self, scope: str, *, lease: str | None) -> Look:
        found = []
        answer = http.ask(self._session, "POST", GRAPHQL, json={"query": QUERY})
        for key in ("data", "myself", "pods"):
            answer = http.has(answer, key, of="pods")
        for pod in http.entries(answer, of="pods"):
            cluster = cluster_of(str(http.has(pod, "name", of="pods") or ""))  # a pod without one is not ours
            if pod.get("desiredStatus") != _GONE and is_ours({}, cluster, lease=lease):
                found.append(named(_resource(pod), cluster))
        return Look(resources=found)

    def end(self, resource: Resource) -> None:
        http.ask(self._session, "DELETE", f"{API}/pods/{resource.id}", absent_is_fine=True)


def key_from(home: Path) -> str:
    """`[default]` `api_key = "KEY"`, as RunPod's own client writes it (sky/clouds/runpod.py)."""
    found = re.search(r'^api_key\s*=\s*("[^"\n]*")', (home / KEY_FILE).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"~/{KEY_FILE} holds no api_key")
    return str(json.loads(found[1]))


def _resource(pod: Mapping[str, Any]) -> Resource:
    return Resource(
        provider="runpod",
        region="",
        kind="pods",
        id=pod["id"],
        state=str(pod.get("desiredStatus") or "unknown"),
        labels={},
    )
