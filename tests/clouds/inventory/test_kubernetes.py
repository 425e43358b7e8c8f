"""Kubernetes by kubectl: a program of that name stands in for it, and answers as a cluster would."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds.kubernetes.inventory import Kubernetes
from cvl_ci.clouds.programs import programs
from cvl_ci.clouds.provider import ProviderInventory
from tests.clouds.inventory.cases import CLUSTER, LABELS, OTHER_CLUSTER, OTHER_LABELS, OURS, error, find, ids

FORBIDDEN = (
    'Error from server (Forbidden): pods is forbidden: User "ci" cannot list resource "pods" at the cluster scope'
)
KUBECTL = """#!{python}
import json, os, sys
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(words) + "\\n")
answers = json.load(open({answers!r}))
for needle, (code, out, err) in answers:
    if needle in " ".join(words):
        sys.stdout.write(out), sys.stderr.write(err)
        sys.exit(code)
sys.exit("unexpected: " + " ".join(words))
"""


class Kubectl:
    """`answers`: a part of the command → exit code, what it prints, what it complains; the first that fits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.answers: list[tuple[str, tuple[int, str, str]]] = [("config current-context", (0, "gke_p_z_c\n", ""))]
        path = folder / "kubectl"
        text = KUBECTL.format(python=sys.executable, log=str(folder / "log"), answers=str(folder / "answers"))
        path.write_text(text)
        path.chmod(0o755)

    def kubernetes(self) -> Kubernetes:
        (self._folder / "answers").write_text(json.dumps(self.answers))
        return Kubernetes(programs({"PATH": f"{self._folder}{os.pathsep}{os.environ['PATH']}"}))

    def shows(self, *items: dict[str, Any], where: str = "get pods,services") -> None:
        self.answers.append((where, (0, json.dumps({"kind": "List", "apiVersion": "v1", "items": list(items)}), "")))

    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self._folder / "log").read_text().splitlines()]


@pytest.fixture
def kubectl(tmp_path: Path) -> Kubectl:
    return Kubectl(tmp_path)


def pod(
    name: str = f"{CLUSTER}-head", *, cluster: str = CLUSTER, phase: str = "Running", **about: Any
) -> dict[str, Any]:
    ours = {"parent": "skypilot", "skypilot-cluster-name": cluster}
    labels = {**ours, **(LABELS if cluster == CLUSTER else OTHER_LABELS)}
    metadata = {"name": name, "namespace": "default", "labels": labels, "creationTimestamp": "2025-11-24T16:00:00Z"}
    return {"kind": "Pod", "metadata": {**metadata, **about}, "status": {"phase": phase}}


def service(name: str = f"{CLUSTER}-head-ssh") -> dict[str, Any]:
    labels = {"parent": "skypilot", "skypilot-cluster-name": CLUSTER}
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"type": "LoadBalancer"},
    }


def test_pods_and_services_of_the_lease_are_found_in_the_context_in_use(kubectl: Kubectl) -> None:
    kubectl.shows(pod(), pod(f"{OTHER_CLUSTER}-head", cluster=OTHER_CLUSTER), service())
    result = find(kubectl.kubernetes())
    assert ids(result) == {f"default/pod/{CLUSTER}-head", f"default/service/{CLUSTER}-head-ssh"}
    assert {item.labels["cvl-ci-lease"] for item in result.read()[0]} == {OURS.name}
    assert {item.region for item in result.read()[0]} == {"gke_p_z_c"}
    assert result.read()[0][0].created_at == 1_764_000_000.0
    assert kubectl.asked()[1][:3] == ["--context=gke_p_z_c", "get", "pods,services"]


def test_a_context_that_was_named_is_asked_whatever_slashes_it_has(kubectl: Kubectl) -> None:
    from cvl_ci.model.location import Location

    context = "arn:aws:eks:us-east-1:123456789012:cluster/gpu"
    kubectl.shows()
    place = Location.parse(str(Location(cloud="kubernetes", region=context)))
    result = ProviderInventory(kubectl.kubernetes()).find(lease=OURS.name, locations=[place])
    assert [request.region for request in result.asked] == [context]
    assert result.asked[0].clean


def test_a_pod_that_is_ending_counts_until_it_is_gone_and_is_not_deleted_again(kubectl: Kubectl) -> None:
    kubectl.shows(pod(deletionTimestamp="2025-11-24T17:00:00Z"))
    kubernetes = kubectl.kubernetes()
    result = find(kubernetes)
    assert result.asked[0].leftovers == (f"default/pod/{CLUSTER}-head (Terminating)",)
    ProviderInventory(kubernetes).remove(result.read()[0])
    assert not any("delete" in words for words in kubectl.asked())


def test_each_is_deleted_in_its_namespace_and_one_refusal_keeps_no_other(kubectl: Kubectl) -> None:
    kubectl.shows(pod(), service())
    kubectl.answers.append(("delete pod", (1, "", "Error from server: admission webhook denied the request\n")))
    kubectl.answers.append(("delete service", (0, "", "")))
    kubernetes = kubectl.kubernetes()
    with pytest.raises(Exception, match="webhook denied") as raised:
        ProviderInventory(kubernetes).remove(find(kubernetes).read()[0])
    assert "service" not in str(raised.value)
    deleted = [words for words in kubectl.asked() if "delete" in words]
    assert len(deleted) == 2
    assert all("--namespace=default" in words and "--wait=false" in words for words in deleted)


def test_who_may_not_look_everywhere_looks_in_its_own_namespace(kubectl: Kubectl) -> None:
    kubectl.answers.append(("--all-namespaces", (1, "", FORBIDDEN)))
    kubectl.shows(pod())
    assert len(find(kubectl.kubernetes()).read()[0]) == 1


@pytest.mark.parametrize(
    ("complaint", "why"),
    [
        ("error: You must be logged in to the server (Unauthorized)", "logged in"),
        ("Unable to connect to the server: dial tcp 10.0.0.1:443: i/o timeout", "Unable to connect"),
        (FORBIDDEN, "Forbidden"),
    ],
)
def test_a_cluster_that_does_not_answer_proves_nothing(complaint: str, why: str, kubectl: Kubectl) -> None:
    kubectl.answers.append(("get pods", (1, "", complaint)))
    assert why in error(find(kubectl.kubernetes()))


def test_no_kubectl_and_no_context_prove_nothing(kubectl: Kubectl, tmp_path: Path) -> None:
    assert "not installed" in error(find(Kubernetes(programs({"PATH": str(tmp_path / "nowhere")}))))
    kubectl.answers[0] = ("config current-context", (1, "", "error: current-context is not set"))
    assert "current-context is not set" in error(find(kubectl.kubernetes()))


def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cvl_ci.clouds.programs.SECONDS", 0.2)
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexec sleep 20\n")
    (tmp_path / "kubectl").chmod(0o755)
    run = programs({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    assert "did not answer" in error(find(Kubernetes(run)))


def test_a_context_beside_a_place_without_one_is_asked_with_the_one_in_use(kubectl: Kubectl) -> None:
    from cvl_ci.model.location import Location

    locations: Sequence[Location] = [Location(cloud="kubernetes"), Location(cloud="kubernetes", region="other")]
    assert kubectl.kubernetes().scopes(locations) == ["other", "gke_p_z_c"]
