"""Kubernetes: pods and services of a context, by our label and by SkyPilot's, by kubectl: it has every way to sign in.

Shapes after `kubectl get -o json` (kubernetes.io/docs/reference/kubernetes-api): a List of {kind, metadata: {name,
namespace, labels, creationTimestamp, deletionTimestamp}, spec, status: {phase}}. Labels: sky/templates/
kubernetes-ray.yml.j2; services carry SkyPilot's alone. A pod that is ending counts until it is gone: a lost node can
hold it for ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cvl_ci.clouds import http
from cvl_ci.clouds.provider import Look, is_ours, moment, named, shared
from cvl_ci.model.lease_name import CLUSTER_TAG
from cvl_ci.model.plan import Place
from cvl_ci.ports import Resource

SECONDS = "--request-timeout=20s"
_ENDING = "Terminating"


class Kubernetes:
    """`run` carries out a command and gives what it printed; raises with what it said against it."""

    name = "kubernetes"
    kinds = ("pods", "services")
    patience_seconds = 180.0

    def __init__(self, run: Callable[[Sequence[str]], str]) -> None:
        self._run = run

    def scopes(self, places: Sequence[Place]) -> Sequence[str]:
        """A context's name may hold slashes, and a place is cut at them."""
        named_ones = ["/".join(part for part in (place.region, place.zone) if part) for place in places]
        contexts = list(dict.fromkeys(context for context in named_ones if context))
        if contexts and all(named_ones):
            return contexts
        current = self._run(["kubectl", "config", "current-context"]).strip()
        return list(dict.fromkeys([*contexts, current]))

    def look(self, scope: str, *, lease: str | None) -> Look:
        found = []
        for raw in self._listed(scope):
            about = raw["metadata"]
            labels = {str(key): str(value) for key, value in (about.get("labels") or {}).items()}
            cluster = labels.get(CLUSTER_TAG, "")
            if is_ours(labels, cluster, lease=lease):
                found.append(named(_resource(scope, raw, labels), cluster))
        return Look(resources=shared(found))

    def end(self, resource: Resource) -> None:
        if resource.state == _ENDING:
            return
        namespace, kind, name = resource.id.split("/")
        command = ["delete", kind, name, f"--namespace={namespace}", "--ignore-not-found", "--wait=false", SECONDS]
        self._run(["kubectl", f"--context={resource.region}", *command])

    def _listed(self, context: str) -> Sequence[Mapping[str, Any]]:
        """Everywhere; where that is not allowed, in the context's own namespace, which is SkyPilot's too."""
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
        return listed(text)


def listed(text: str) -> Sequence[Mapping[str, Any]]:
    """Return what `kubectl get` of two kinds lists. With nothing to list it prints the same List with `items: []`
    (k8s.io/cli-runtime, printers: `corev1.List`, whose `items` is no optional field)."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise http.Unproved("what kubectl printed is no JSON") from None
    if http.has(answer, "kind", of="pods and services") != "List":
        raise http.Unproved("what kubectl printed is no List")
    return list(http.entries(http.has(answer, "items", of="pods and services"), of="pods and services"))


def _resource(context: str, raw: Mapping[str, Any], labels: Mapping[str, str]) -> Resource:
    about, kind = raw["metadata"], f"{raw['kind']}s".lower()
    phase = (raw.get("status") or {}).get("phase") or (raw.get("spec") or {}).get("type") or "there"
    return Resource(
        provider="kubernetes",
        region=context,
        kind=kind,
        id=f"{about['namespace']}/{kind[:-1]}/{about['name']}",
        state=_ENDING if about.get("deletionTimestamp") else str(phase),
        labels=labels,
        created_at=moment(about.get("creationTimestamp")),
    )
