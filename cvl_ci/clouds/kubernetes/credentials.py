"""Kubernetes: a kubeconfig, and the secrets in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from cvl_ci.clouds.credential_provider import CredentialFiles, CredentialProvider, Environment, find_missing
from cvl_ci.model.access import CloudAccess

FILE = "~/.kube/config"
IN_CLUSTER = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_SECRET = {"token", "password", "client-key-data", "id-token", "refresh-token", "access-token", "client-secret"}


def check(environment: Environment) -> CloudAccess:
    available, missing, takes = [], [], []
    if text := environment.as_input("kubeconfig"):
        if _contexts(text):
            available = [f"`kubeconfig` with the contexts {', '.join(_contexts(text))}"]
        else:
            missing, takes = ["a context: `kubeconfig` is not a kubeconfig with one"], ["give the file's whole text"]
    elif path := next((path for path in _paths(environment) if environment.exists(path)), None):
        available = [f"the kubeconfig {path}"]
    elif environment.variable("KUBERNETES_SERVICE_HOST") and environment.exists(IN_CLUSTER):
        available = ["this pod's service account"]
    else:
        missing, takes = ["any credentials"], [f"in a workflow `kubeconfig`; in a terminal KUBECONFIG or {FILE}"]
    system = "install kubectl (kubernetes.io/docs/tasks/tools), socat and netcat"
    missing_software, steps = find_missing(
        environment,
        programs=dict.fromkeys(("kubectl", "socat", "nc"), system),
        modules={"kubernetes": "pip install 'cvl-ci[kubernetes]'"},
    )
    return CloudAccess(
        cloud="kubernetes", available=tuple(available), missing=(*missing, *missing_software), takes=(*takes, *steps)
    )


def write(environment: Environment) -> CredentialFiles:
    text = environment.as_input("kubeconfig")
    if not text:
        return CredentialFiles()
    path = environment.folder / "kubeconfig"
    return CredentialFiles(
        files={path: text + "\n"},
        variables={"KUBECONFIG": str(path)},
        secrets=tuple(_secrets(_read(text))),
        stays_here=True,
    )


KUBERNETES = CredentialProvider(cloud="kubernetes", check=check, write=write)


def _paths(environment: Environment) -> list[str]:
    return [path for path in environment.variable("KUBECONFIG").split(":") if path] or [FILE]


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return None


def _contexts(text: str) -> list[str]:
    document = _read(text)
    contexts = document.get("contexts") if isinstance(document, dict) else None
    named = contexts if isinstance(contexts, list) else []
    return [str(context["name"]) for context in named if isinstance(context, dict) and "name" in context]


def _secrets(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner)
    elif isinstance(value, str) and name in _SECRET:
        yield value
