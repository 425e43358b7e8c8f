"""Kubernetes: a kubeconfig, with what it holds of secrets named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from cvl_ci.clouds.credential_provider import Here, Kind, Written, lacking
from cvl_ci.model.access import CloudAccess

FILE = "~/.kube/config"
IN_CLUSTER = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_SECRET = {"token", "password", "client-key-data", "id-token", "refresh-token", "access-token", "client-secret"}


def look(here: Here) -> CloudAccess:
    there, missing, takes = [], [], []
    if text := here.as_input("kubeconfig"):
        if _contexts(text):
            there = [f"`kubeconfig` with the contexts {', '.join(_contexts(text))}"]
        else:
            missing, takes = ["a context: `kubeconfig` is no kubeconfig with one"], ["give the file's whole text"]
    elif path := next((path for path in _paths(here) if here.exists(path)), None):
        there = [f"the kubeconfig {path}"]
    elif here.variable("KUBERNETES_SERVICE_HOST") and here.exists(IN_CLUSTER):
        there = ["this pod's service account"]
    else:
        missing, takes = ["any credentials"], [f"in a workflow `kubeconfig`; in a terminal KUBECONFIG or {FILE}"]
    system = "install kubectl (kubernetes.io/docs/tasks/tools), socat and netcat"
    gone, how = lacking(
        here,
        programs=dict.fromkeys(("kubectl", "socat", "nc"), system),
        modules={"kubernetes": "pip install 'cvl-ci[kubernetes]'"},
    )
    return CloudAccess(cloud="kubernetes", there=tuple(there), missing=(*missing, *gone), takes=(*takes, *how))


def write(here: Here) -> Written:
    text = here.as_input("kubeconfig")
    if not text:
        return Written()
    path = here.folder / "kubeconfig"
    return Written(
        files={path: text + "\n"},
        variables={"KUBECONFIG": str(path)},
        secrets=tuple(_secrets(_read(text))),
        stays_here=True,
    )


KUBERNETES = Kind(cloud="kubernetes", look=look, write=write)


def _paths(here: Here) -> list[str]:
    return [path for path in here.variable("KUBECONFIG").split(":") if path] or [FILE]


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return None


def _contexts(text: str) -> list[str]:
    document = _read(text)
    contexts = document.get("contexts") if isinstance(document, dict) else None
    named = contexts if isinstance(contexts, list) else []
    return [str(each["name"]) for each in named if isinstance(each, dict) and "name" in each]


def _secrets(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner)
    elif isinstance(value, str) and name in _SECRET:
        yield value
