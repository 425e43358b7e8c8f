"""Acme: servers by name. `GET /servers` → {"servers": [{name, state}]}; `DELETE /servers/{name}` → 204."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cvl_ci.clouds import http
from cvl_ci.clouds.key_session import KeySession
from cvl_ci.clouds.provider import ProviderInventory, ScopeAnswer, cluster_of, is_ours, with_cluster_label
from cvl_ci.model.location import Location
from cvl_ci.ports import Inventory, Resource, ResourceKind

API = "https://api.acme.example"


class Acme:
    """The Provider protocol."""

    name = "acme"
    kinds = ("servers",)
    patience_seconds = 60.0

    def __init__(self, home: Path) -> None:
        self._api = KeySession(lambda: (home / ".acme" / "key").read_text(encoding="utf-8"))

    def scopes(self, locations: Sequence[Location]) -> Sequence[str]:
        return ["every region"]

    def list_resources(self, scope: str, *, lease: str | None) -> ScopeAnswer:
        resources = []
        for server in self._api.list_objects("GET", f"{API}/servers", under=("servers",), of="servers"):
            name = http.text(server, "name", of="servers")
            if is_ours({}, cluster := cluster_of(name), lease=lease):
                state = http.text(server, "state", of="servers")
                resource = Resource(
                    provider="acme", region="", kind=ResourceKind.MACHINE, id=name, state=state, labels={}
                )
                resources.append(with_cluster_label(resource, cluster))
        return ScopeAnswer(resources=resources)

    def end(self, resource: Resource) -> None:
        self._api.end("DELETE", f"{API}/servers/{resource.id}")


def open_inventory(environ: Mapping[str, str]) -> Inventory:
    return ProviderInventory(Acme(Path(environ["HOME"])))
