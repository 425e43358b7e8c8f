"""GCP: machines, TPUs, disks and addresses of a project, in all zones at once, by our label and by SkyPilot's name.

Shapes after Compute Engine v1 `instances|disks|addresses.aggregatedList` (cloud.google.com/compute/docs/reference/rest:
{items: {"zones/Z": {instances, warning}}, nextPageToken, unreachables}) and Cloud TPU v2
`projects.locations.nodes.list` ({nodes, nextPageToken, unreachable}). With returnPartialSuccess GCP names a zone that
is down and still lists the others. Labels: sky/templates/gcp-ray.yml.j2. A boot disk has no label, only its machine's
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cvl_ci.clouds import http
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
from cvl_ci.model.lease_name import ANY_NAME_EXPRESSION, CLUSTER_TAG, LABEL_LEASE
from cvl_ci.model.location import Location
from cvl_ci.model.resource import Pricing
from cvl_ci.ports import Inventory, Resource, ResourceKind

if TYPE_CHECKING:
    from requests import Session

COMPUTE = "https://compute.googleapis.com/compute/v1"
TPU = "https://tpu.googleapis.com/v2"
KINDS = ("instances", "disks")
NODES, ADDRESSES = "TPU nodes", "addresses"
WHY_NOT = {
    NODES: "the TPU API is off, or these credentials may not create nodes",
    ADDRESSES: "these credentials may not list them; no run makes one",
}
"""Kinds that a run cannot have made if its credentials may not list them."""
LISTS = {
    "instances": "compute#instanceAggregatedList",
    "disks": "compute#diskAggregatedList",
    ADDRESSES: "compute#addressAggregatedList",
}
"""The `kind` of each answer, always present as the default of its schema. `items` is absent when nothing fits.

Source: discovery document compute/v1, InstanceAggregatedList, DiskAggregatedList, AddressAggregatedList.
"""
EMPTY = "NO_RESULTS_ON_PAGE"
"""The only warning of a scope that means no problem."""
_KIND_OF = {
    "instances": ResourceKind.MACHINE,
    "disks": ResourceKind.DISK,
    ADDRESSES: ResourceKind.ADDRESS,
    NODES: ResourceKind.TPU,
}
_LIST_OF = {kind: name for name, kind in _KIND_OF.items()}
_ENDING = {"STOPPING", "DELETING"}


class Gcp:
    """The inventory of GCP. `sign_in` returns a session with credentials, and its project."""

    name = "gcp"
    kinds = (*KINDS, ADDRESSES, NODES)
    patience_seconds = 300.0

    def __init__(self, sign_in: Callable[[], tuple[Session, str]]) -> None:
        self._sign_in = sign_in

    @cached_property
    def _signed_in(self) -> tuple[Session, str]:
        return self._sign_in()

    def scopes(self, locations: Sequence[Location]) -> Sequence[str]:
        return [f"project {self._signed_in[1]}"]

    def list_resources(self, scope: str, *, lease: str | None) -> ScopeAnswer:
        silent: list[str] = []
        own_resources = {
            f"{kind}/{resource.id}": resource
            for kind in KINDS
            for raw in self._of_lease(kind, lease, silent)
            if is_ours((resource := _resource(kind, raw)).labels, resource.labels[CLUSTER_TAG], lease=lease)
        }
        skipped = {}
        for kind, look in ((ADDRESSES, self._addresses), (NODES, self._nodes)):
            try:
                extra = [_resource(kind, raw) for raw in look(lease, silent)]
            except http.ProviderRefused as refused:
                if not _not_allowed(refused):
                    raise
                skipped[kind] = WHY_NOT[kind]
            else:
                new_resources = [
                    resource
                    for resource in extra
                    if is_ours(resource.labels, resource.labels[CLUSTER_TAG], lease=lease)
                ]
                own_resources |= {f"{kind}/{resource.id}": resource for resource in new_resources}
        return ScopeAnswer(resources=shared(list(own_resources.values())), silent=silent, skipped=skipped)

    def end(self, resource: Resource) -> None:
        """Delete a resource. A disk in use goes with its machine; a resource that is ending needs no second request."""
        if resource.state in _ENDING or resource.state == "in use":
            return
        session, project = self._signed_in
        place, _, name = resource.id.rpartition("/")
        url = f"{COMPUTE}/projects/{project}/{place}/{_LIST_OF[resource.kind]}/{name}"
        url = f"{TPU}/{resource.id}" if resource.kind is ResourceKind.TPU else url
        http.ask(session, "DELETE", url, absent_is_fine=True)

    def _of_lease(self, kind: str, lease: str | None, silent: list[str]) -> Iterator[Mapping[str, Any]]:
        """Yield resources of a lease. `eq` matches a whole regular expression; the label finds renamed resources."""
        yield from self._entries(
            kind, f'labels.{LABEL_LEASE}="{lease}"' if lease else f"labels.{LABEL_LEASE}:*", silent
        )
        yield from self._entries(kind, f'name eq "{lease}-.*"' if lease else f'name eq "{ANY_NAME_EXPRESSION}"', silent)

    def _addresses(self, lease: str | None, silent: list[str]) -> Iterator[Mapping[str, Any]]:
        return self._of_lease(ADDRESSES, lease, silent)

    def _entries(self, kind: str, filter_: str, silent: list[str]) -> Iterator[Mapping[str, Any]]:
        session, project = self._signed_in
        params = {"filter": filter_, "returnPartialSuccess": "true", "maxResults": "500"}
        pages, token = http.Pages(kind), "first"
        while token:
            page = http.ask(session, "GET", f"{COMPUTE}/projects/{project}/aggregated/{kind}", params=params)
            if http.has(page, "kind", of=kind) != LISTS[kind]:
                raise http.Unproved(f"the answer about {kind} is of another kind")
            silent += [f"{place} did not answer about {kind}" for place in page.get("unreachables", [])]
            for place, scope in page.get("items", {}).items():
                yield from _in_scope(kind, place, scope, silent)
            token = pages.next(page.get("nextPageToken"))
            params = {**params, "pageToken": token}

    def _nodes(self, _: str | None, silent: list[str]) -> Iterator[Mapping[str, Any]]:
        """Yield the TPU nodes.

        The TPU API omits empty fields, so an answer without nodes is `{}`. Another server could answer the same to any
        query. The locations, which are never empty, show that this is the TPU API.
        """
        session, project = self._signed_in
        places = f"{TPU}/projects/{project}/locations"
        locations = http.has(http.ask(session, "GET", places), "locations", of=f"the places of {NODES}")
        if not list(http.entries(locations, of=f"the places of {NODES}")):
            raise http.Unproved(f"the answer about the places of {NODES} lists none")
        pages, params, token = http.Pages(NODES), dict[str, str](), "first"
        while token:
            page = http.ask(session, "GET", f"{places}/-/nodes", params=params)
            if not isinstance(page, dict) or page.keys() - {"nodes", "nextPageToken", "unreachable"}:
                raise http.Unproved(f"the answer about {NODES} is of another kind")
            silent += [f"{place} did not answer about {NODES}" for place in page.get("unreachable", [])]
            nodes = http.entries(page.get("nodes", []), of=NODES)
            yield from ({**raw, "status": raw.get("state", "")} for raw in nodes)
            token = pages.next(page.get("nextPageToken"))
            params = {"pageToken": token}


def open_inventory(environ: Mapping[str, str]) -> Inventory:
    project = environ.get("GOOGLE_CLOUD_PROJECT", "")
    return ProviderInventory(Gcp(lambda: sign_in(project)))


def sign_in(project: str) -> tuple[Session, str]:
    """Sign in with google.auth's default credentials, as SkyPilot does (sky/adaptors/gcp.py, sky/clouds/gcp.py)."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession, Request

    exchange = Request(http.session())
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    credentials, default_project = google.auth.default(scopes=scopes, request=exchange)
    project_id = project or default_project
    if not project_id:
        raise ValueError("the project is unknown: set GOOGLE_CLOUD_PROJECT")
    session: Session = AuthorizedSession(credentials, auth_request=exchange)  # type: ignore[no-untyped-call]
    http.patient(session)
    return session, project_id


def _in_scope(kind: str, place: str, scope: object, silent: list[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a scope. It has a list, or a warning "which replaces the list when the list is empty"."""
    if not isinstance(scope, Mapping) or not {kind, "warning"} & scope.keys():
        raise http.Unproved(f"the answer about {kind} says nothing of {place}")
    warning = scope.get("warning") or {}
    if warning and warning.get("code") != EMPTY:
        silent.append(f"{place}, {kind}: {warning.get('code')}")
    yield from http.entries(scope.get(kind, []), of=kind)


def _not_allowed(refused: http.ProviderRefused) -> bool:
    """Return whether a right is missing. Compute Engine also answers 403 to too many requests."""
    return refused.status == 403 and (refused.code == "PERMISSION_DENIED" or "permission" in str(refused).lower())


def _is_spot(scheduling: object) -> bool:
    """Return whether a machine is spot. Compute Engine names it twice: scheduling.provisioningModel and preemptible."""
    if not isinstance(scheduling, Mapping):
        return False
    return scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible") is True


def _resource(kind: str, raw: Mapping[str, Any]) -> Resource:
    """Return our view of a resource.

    Compute Engine names places as `.../zones/Z`, TPUs as `.../locations/Z/nodes/N`.
    """
    place = "/".join(str(raw.get("zone") or raw.get("region") or "global").split("/")[-2:])
    node = kind == NODES
    name = str(raw["name"]).rpartition("/")[2]
    zone = str(raw["name"]).split("/")[3] if node else place.rpartition("/")[2]
    labels = {str(key): str(value) for key, value in (raw.get("labels") or {}).items()}
    cluster = labels.get(CLUSTER_TAG) or cluster_of(name)
    resource = Resource(
        provider="gcp",
        region=zone.rpartition("-")[0] if node or raw.get("zone") else zone,
        kind=_KIND_OF[kind],
        id=str(raw["name"]) if node else f"{place}/{name}",
        state="in use" if raw.get("users") else str(raw.get("status", "")),
        labels=labels,
        instance_type=str(raw.get("machineType") or raw.get("acceleratorType") or "").rpartition("/")[2],
        created_at=moment(raw.get("creationTimestamp") or raw.get("createTime")),
        pricing=Pricing(size_gb=gigabytes(raw.get("sizeGb")), spot=_is_spot(raw.get("scheduling"))),
    )
    return with_cluster_label(resource, cluster)
