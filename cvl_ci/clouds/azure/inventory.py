"""Azure: the resource groups of SkyPilot, `CLUSTER-REGION` (sky/clouds/azure.py), and their contents.

Shapes after Azure Resource Manager (learn.microsoft.com/rest/api): Resource Groups List and Delete (2021-04-01),
Virtual Machines List All (2024-07-01), Disks List (2023-10-02), Public IP Addresses List All (2023-09-01): {value,
nextLink}. `value` is always present, `[]` for none (required in the lists of machines and disks).
Errors are {"error": {code, message}}; a delete answers 202 and continues by itself. Our labels are tags of the machines
(sky/templates/azure-ray.yml.j2). A group and its contents share them, and end together.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cvl_ci.clouds import http
from cvl_ci.clouds.programs import programs
from cvl_ci.clouds.provider import (
    ProviderInventory,
    ScopeAnswer,
    cluster_of,
    gigabytes,
    is_ours,
    moment,
    shared,
    with_cluster_label,
)
from cvl_ci.model.location import Location
from cvl_ci.model.resource import Pricing
from cvl_ci.ports import Inventory, Resource, ResourceKind

if TYPE_CHECKING:
    from requests import Session

MANAGEMENT = "https://management.azure.com"
GROUPS = "resource groups"
VERSIONS = {
    GROUPS: ("resourcegroups", "2021-04-01"),
    "virtual machines": ("providers/Microsoft.Compute/virtualMachines", "2024-07-01"),
    "disks": ("providers/Microsoft.Compute/disks", "2023-10-02"),
    "public addresses": ("providers/Microsoft.Network/publicIPAddresses", "2023-09-01"),
}
FORCE = {
    GROUPS: {"forceDeletionTypes": "Microsoft.Compute/virtualMachines"},
    "virtual machines": {"forceDeletion": "true"},
}
_KIND_OF = {
    GROUPS: ResourceKind.RESOURCE_GROUP,
    "virtual machines": ResourceKind.MACHINE,
    "disks": ResourceKind.DISK,
    "public addresses": ResourceKind.ADDRESS,
}
_LIST_OF = {kind: name for name, kind in _KIND_OF.items()}
_TOKEN_MARGIN = 120
"""Seconds before a token's end after which we no longer use it."""


@dataclass(frozen=True, kw_only=True)
class Token:
    text: str = field(repr=False)
    subscription: str
    expires_at: float


class Azure:
    """The inventory of Azure. `token` returns a new token of the current subscription."""

    name = "azure"
    kinds = tuple(VERSIONS)
    patience_seconds = 900.0

    def __init__(self, token: Callable[[], Token]) -> None:
        self._new_token = token
        self._token: Token | None = None
        self._token_session: tuple[Token, Session] | None = None

    def scopes(self, locations: Sequence[Location]) -> Sequence[str]:
        return [f"subscription {self._current_token().subscription}"]

    def list_resources(self, scope: str, *, lease: str | None) -> ScopeAnswer:
        resources = [
            with_cluster_label(_resource(kind, raw), cluster)
            for kind in VERSIONS
            for raw in self._entries(kind)
            if is_ours(raw.get("tags") or {}, cluster := cluster_of(_group(http.text(raw, "id", of=kind))), lease=lease)
        ]
        return ScopeAnswer(resources=shared(resources))

    def end(self, resource: Resource) -> None:
        """Delete a resource, where its group does not take it along.

        A SkyPilot group takes its contents along. In the user's own group, a disk or an address waits for the end of
        its machine.
        """
        kind = _LIST_OF[resource.kind]
        with_its_group = kind != GROUPS and cluster_of(_group(resource.id))
        if with_its_group or resource.state in {"Deleting", "Attached", "in use"}:
            return
        version = VERSIONS[kind][1]
        params = {"api-version": version, **FORCE.get(kind, {})}
        http.ask(self._session(), "DELETE", f"{MANAGEMENT}{resource.id}", params=params, absent_is_fine=True)

    def _entries(self, kind: str) -> Iterator[Mapping[str, Any]]:
        path, version = VERSIONS[kind]
        url = f"{MANAGEMENT}/subscriptions/{self._current_token().subscription}/{path}?api-version={version}"
        pages = http.Pages(kind)
        while url:
            if not url.startswith(f"{MANAGEMENT}/"):
                raise ValueError(f"the next page of {kind} is on another server")  # our token goes to no other server
            page = http.ask(self._session(), "GET", url)
            yield from http.entries(http.has(page, "value", of=kind), of=kind)
            url = pages.next(page.get("nextLink"))

    def _session(self) -> Session:
        token = self._current_token()
        if self._token_session is None or self._token_session[0] != token:
            self._token_session = token, http.session(f"Bearer {token.text}")
        return self._token_session[1]

    def _current_token(self) -> Token:
        if self._token is None or self._token.expires_at - _TOKEN_MARGIN < time.time():
            self._token = self._new_token()
        return self._token


def open_inventory(environ: Mapping[str, str]) -> Inventory:
    run = programs(environ)
    return ProviderInventory(Azure(lambda: token_from(run)))


def token_from(run: Callable[[Sequence[str]], str], *, resource: str = MANAGEMENT) -> Token:
    """Return a token of the az program, as SkyPilot does (azure.identity's AzureCliCredential runs it too)."""
    command = ["az", "account", "get-access-token", "--output", "json", "--resource", resource]
    answer = json.loads(run(command))
    expires = float(answer.get("expires_on") or time.time() + 10 * _TOKEN_MARGIN)
    return Token(text=answer["accessToken"], subscription=answer["subscription"], expires_at=expires)


def _group(resource_id: str) -> str:
    """Return the name of a resource's group. Group names ignore case."""
    match = re.match(r"/subscriptions/[^/]+/resourcegroups/([^/]+)", resource_id, re.IGNORECASE)
    return match[1].lower() if match else ""


def _resource(kind: str, raw: Mapping[str, Any]) -> Resource:
    about = raw.get("properties") or {}
    busy = kind == "public addresses" and about.get("ipConfiguration")
    state = "in use" if busy else about.get("diskState") or about.get("provisioningState") or "there"
    return Resource(
        provider="azure",
        region=str(raw.get("location", "")),
        kind=_KIND_OF[kind],
        id=str(raw["id"]),
        state=str(state),
        labels=dict(raw.get("tags") or {}),
        instance_type=str((about.get("hardwareProfile") or {}).get("vmSize", "")),
        created_at=moment(about.get("timeCreated")),
        pricing=Pricing(size_gb=gigabytes(about.get("diskSizeGB")), spot=about.get("priority") == "Spot"),
        ending=kind == GROUPS and state == "Deleting",  # a group costs nothing: its contents are listed too
    )
