"""GCP: machines, TPUs, disks and addresses of a project, in every zone at once, by our label and by SkyPilot's name.

Shapes after Compute Engine v1 `instances|disks|addresses.aggregatedList` (cloud.google.com/compute/docs/reference/rest:
{items: {"zones/Z": {instances, warning}}, nextPageToken, unreachables}) and Cloud TPU v2
`projects.locations.nodes.list` ({nodes, nextPageToken, unreachable}). With returnPartialSuccess a zone that is down is
named and hides no other.
Labels: sky/templates/gcp-ray.yml.j2. A boot disk has no label, only its machine's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cvl_ci.engine.inventory import rest
from cvl_ci.engine.inventory.aws_looks import LEASE_LABEL, NAME_TAG
from cvl_ci.engine.inventory.provider import Look, cluster_of, is_ours, moment, named, shared
from cvl_ci.ports import Resource
from cvl_ci.request.plan import Place

if TYPE_CHECKING:
    from requests import Session

COMPUTE = "https://compute.googleapis.com/compute/v1"
TPU = "https://tpu.googleapis.com/v2"
KINDS = ("instances", "disks", "addresses")
NODES = "TPU nodes"
EMPTY = "NO_RESULTS_ON_PAGE"
"""The one warning of a scope that says nothing is wrong."""
_ENDING = {"STOPPING", "DELETING"}


class Gcp:
    """`sign_in` gives a session that GCP knows and the project it is of."""

    name = "gcp"
    kinds = (*KINDS, NODES)

    def __init__(self, sign_in: Callable[[], tuple[Session, str]]) -> None:
        self._sign_in = sign_in

    @cached_property
    def _signed_in(self) -> tuple[Session, str]:
        return self._sign_in()

    def scopes(self, places: Sequence[Place]) -> Sequence[str]:
        return [f"project {self._signed_in[1]}"]

    def look(self, scope: str, *, lease: str | None) -> Look:
        silent: list[str] = []
        found: dict[str, Resource] = {}
        for kind in KINDS:
            # `eq` matches a regular expression as a whole; a filter by label finds what was renamed.
            label = f'labels.{LEASE_LABEL}="{lease}"' if lease else f"labels.{LEASE_LABEL}:*"
            for wanted in (label, f'name eq "{lease}-.*"' if lease else 'name eq "cvl-.*"'):
                for raw in self._listed(kind, wanted, silent):
                    resource = _resource(kind, raw)
                    if is_ours(resource.labels, resource.labels[NAME_TAG], lease=lease):
                        found[f"{kind}/{resource.id}"] = resource
        nodes, why = self._nodes(lease, silent)
        every = shared([*found.values(), *nodes])
        return Look(resources=every, silent=silent, skipped={NODES: why} if why else {})

    def end(self, resource: Resource) -> None:
        """A disk in use goes with its machine; what is ending is not asked twice."""
        if resource.state in _ENDING or resource.state == "in use":
            return
        asking, project = self._signed_in
        place, _, name = resource.id.rpartition("/")
        url = (
            f"{TPU}/{resource.id}"
            if resource.kind == NODES
            else (f"{COMPUTE}/projects/{project}/{place}/{resource.kind}/{name}")
        )
        rest.ask(asking, "DELETE", url, absent_is_fine=True)

    def _listed(self, kind: str, wanted: str, silent: list[str]) -> Iterator[Mapping[str, Any]]:
        asking, project = self._signed_in
        params = {"filter": wanted, "returnPartialSuccess": "true", "maxResults": "500"}
        for _ in range(rest.PAGES):
            page = rest.ask(asking, "GET", f"{COMPUTE}/projects/{project}/aggregated/{kind}", params=params)
            silent += [f"{place} did not answer about {kind}" for place in page.get("unreachables", [])]
            for place, scope in page.get("items", {}).items():
                warning = scope.get("warning") or {}
                if warning and warning.get("code") != EMPTY:
                    silent.append(f"{place}, {kind}: {warning.get('code')}")
                yield from scope.get(kind, [])
            if not page.get("nextPageToken"):
                return
            params = {**params, "pageToken": page["nextPageToken"]}
        raise rest.endless(kind)

    def _nodes(self, lease: str | None, silent: list[str]) -> tuple[list[Resource], str]:
        """Why not, where there can be none: a project that has not switched the API on has no TPU."""
        asking, project = self._signed_in
        url, params, found = f"{TPU}/projects/{project}/locations/-/nodes", dict[str, str](), list[Resource]()
        for _ in range(rest.PAGES):
            try:
                page = rest.ask(asking, "GET", url, params=params)
            except rest.Refused as refused:
                if refused.status == 403:
                    return [], "its API is switched off, or these credentials may make none"
                raise
            silent += [f"{place} did not answer about {NODES}" for place in page.get("unreachable", [])]
            nodes = [_resource(NODES, {**raw, "status": raw.get("state", "")}) for raw in page.get("nodes", [])]
            found += [each for each in nodes if is_ours(each.labels, each.labels[NAME_TAG], lease=lease)]
            if not page.get("nextPageToken"):
                return found, ""
            params = {"pageToken": page["nextPageToken"]}
        raise rest.endless(NODES)


def sign_in(project: str) -> tuple[Session, str]:
    """By google.auth's default credentials, as SkyPilot does (sky/adaptors/gcp.py, sky/clouds/gcp.py)."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, known = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    found = project or known
    if not found:
        raise ValueError("no project is known: set GOOGLE_CLOUD_PROJECT")
    asking: Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    rest.patient(asking)
    return asking, found


def _resource(kind: str, raw: Mapping[str, Any]) -> Resource:
    """Compute Engine names places by addresses (`.../zones/Z`), TPUs by paths (`.../locations/Z/nodes/N`)."""
    place = "/".join(str(raw.get("zone") or raw.get("region") or "global").split("/")[-2:])
    node = kind == NODES
    name = str(raw["name"]).rpartition("/")[2]
    zone = str(raw["name"]).split("/")[3] if node else place.rpartition("/")[2]
    labels = {str(key): str(value) for key, value in (raw.get("labels") or {}).items()}
    cluster = labels.get(NAME_TAG) or cluster_of(name)
    resource = Resource(
        provider="gcp",
        region=zone.rpartition("-")[0] if node or raw.get("zone") else zone,
        kind=kind,
        id=str(raw["name"]) if node else f"{place}/{name}",
        state="in use" if raw.get("users") else str(raw.get("status", "")),
        labels=labels,
        instance_type=str(raw.get("machineType") or raw.get("acceleratorType") or "").rpartition("/")[2],
        created_at=moment(raw.get("creationTimestamp") or raw.get("createTime")),
    )
    return named(resource, cluster)
