"""Kubernetes: pods and services of a context, by our label and by SkyPilot's. kubectl can sign in in each possible way.

Shapes after `kubectl get -o json` (kubernetes.io/docs/reference/kubernetes-api): a List of {kind, metadata: {name,
namespace, labels, creationTimestamp, deletionTimestamp}, spec, status: {phase}}. Labels: sky/templates/
kubernetes-ray.yml.j2; services have SkyPilot's labels only. A pod that is ending counts until it no longer exists: a
lost node can hold it forever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cvl_ci.clouds import http
from cvl_ci.clouds.programs import programs
from cvl_ci.clouds.provider import ProviderInventory, ScopeAnswer, is_ours, moment, shared, with_cluster_label
from cvl_ci.model.lease_name import CLUSTER_TAG
from cvl_ci.model.location import Location
from cvl_ci.ports import Inventory, Resource, ResourceKind

SECONDS = "--request-timeout=20s"
_KIND_OF = {"pods": ResourceKind.MACHINE, "services": ResourceKind.ENDPOINT}
_ENDING = "Terminating"


class Kubernetes:
    """The inventory of Kubernetes. `run` carries out a command and returns its stdout; it raises with the stderr."""

    name = "kubernetes"
    kinds = ("pods", "services")
    patience_seconds = 180.0

    def __init__(self, run: Callable[[Sequence[str]], str]) -> None:
        self._run = run

    def scopes(self, locations: Sequence[Location]) -> Sequence[str]:
        """Return the contexts of the places. A context's name may contain slashes, at which a place is cut."""
        named_ones = ["/".join(part for part in (location.region, location.zone) if part) for location in locations]
        contexts = list(dict.fromkeys(context for context in named_ones if context))
        if contexts and all(named_ones):
            return contexts
        current = self._run(["kubectl", "config", "current-context"]).strip()
        return list(dict.fromkeys([*contexts, current]))

    def list_resources(self, scope: str, *, lease: str | None) -> ScopeAnswer:
        resources = []
        for raw in self._entries(scope):
            about = raw["metadata"]
            labels = {str(key): str(value) for key, value in (about.get("labels") or {}).items()}
            cluster = labels.get(CLUSTER_TAG, "")
            if is_ours(labels, cluster, lease=lease):
                resources.append(with_cluster_label(_resource(scope, raw, labels), cluster))
        return ScopeAnswer(resources=shared(resources))

    def end(self, resource: Resource) -> None:
        if resource.state == _ENDING:
            return
        namespace, kind, name = resource.id.split("/")
        command = ["delete", kind, name, f"--namespace={namespace}", "--ignore-not-found", "--wait=false", SECONDS]
        self._run(["kubectl", f"--context={resource.region}", *command])

    def _entries(self, context: str) -> Sequence[Mapping[str, Any]]:
        """Return the entries of all namespaces, or, if that is forbidden, of the context's own one (SkyPilot's too)."""
        get = [
            "kubectl",
            f"--context={context}",
            "get",
            "pods,services",
            f"--selector={CLUSTER_TAG}",
            "--output=json",
            SECONDS,
        ]
        try:
            text = self._run([*get, "--all-namespaces"])
        except PermissionError:
            text = self._run(get)
        return parse_list(text)


def open_inventory(environ: Mapping[str, str]) -> Inventory:
    return ProviderInventory(Kubernetes(programs(environ)))


def parse_list(text: str) -> Sequence[Mapping[str, Any]]:
    """Return the entries of `kubectl get` for two kinds. Raises Unproved for another answer.

    With no entries kubectl still prints a List with `items: []` (k8s.io/cli-runtime, printers: `corev1.List`, whose
    `items` is not optional).
    """
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise http.Unproved("kubectl's output is not JSON") from None
    if http.has(answer, "kind", of="pods and services") != "List":
        raise http.Unproved("kubectl's output is not a List")
    return list(http.entries(http.has(answer, "items", of="pods and services"), of="pods and services"))


def _resource(context: str, raw: Mapping[str, Any], labels: Mapping[str, str]) -> Resource:
    about, kind = raw["metadata"], f"{raw['kind']}s".lower()
    phase = (raw.get("status") or {}).get("phase") or (raw.get("spec") or {}).get("type") or "there"
    return Resource(
        provider="kubernetes",
        region=context,
        kind=_KIND_OF[kind],
        id=f"{about['namespace']}/{kind[:-1]}/{about['name']}",
        state=_ENDING if about.get("deletionTimestamp") else str(phase),
        labels=labels,
        created_at=moment(about.get("creationTimestamp")),
    )
