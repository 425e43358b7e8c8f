"""The steps of docs/credentials.md set up the trust that the credentials of GCP and Azure then rely on."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvl_ci.clouds.azure import credentials as azure_credentials
from cvl_ci.clouds.gcp import credentials as gcp_credentials
from cvl_ci.clouds.registry import credential_providers
from tests.clouds.credentials.machine import WITH_OIDC, machine
from tests.test_docs_blocks import SHELL, blocks

ISSUER = "https://token.actions.githubusercontent.com"


def options(*command: str) -> list[dict[str, str]]:
    """Return the options of each documented command that begins with these words."""
    lines = [shlex.split(line) for line in SHELL]
    rests = [words[len(command) :] for words in lines if tuple(words[: len(command)]) == command]
    return [{name: value for name, value in itertools.pairwise(words) if name.startswith("--")} for words in rests]


def inputs_of(cloud: str) -> dict[str, str]:
    """Return the credentials in the documented step of a cloud."""
    steps = [yaml.safe_load(text)[0]["with"] for page, text in blocks("yaml") if page == "credentials.md"]
    [inputs] = [step for step in steps if step["cloud"] == cloud]
    return {name: value for name, value in inputs.items() if name.startswith(f"{cloud}_")}


@pytest.mark.parametrize("cloud", ["gcp", "azure"])
def test_the_documented_inputs_are_complete(cloud: str, tmp_path: Path) -> None:
    inputs = {name: value.replace("NUMBER", "1") for name, value in inputs_of(cloud).items()}
    arguments: dict[str, Any] = {**WITH_OIDC, **inputs}
    access = credential_providers()[cloud].check(machine(tmp_path, **arguments))
    assert access.available
    assert not access.missing


def test_gcp_trusts_the_tokens_that_its_credentials_request() -> None:
    [provider] = options("gcloud", "iam", "workload-identity-pools", "providers", "create-oidc", "github")
    inputs = inputs_of("gcp")
    pool, _, name = inputs["gcp_workload_identity_provider"].rpartition("/providers/")
    assert gcp_credentials.PROVIDER.fullmatch(f"{pool}/providers/{name}".replace("NUMBER", "1"))
    assert pool.endswith(f"/{provider['--workload-identity-pool']}")
    assert provider["--issuer-uri"] == ISSUER
    assert "--allowed-audiences" not in provider, "the credentials request the default audience, the provider's name"
    mapping = dict(pair.split("=") for pair in provider["--attribute-mapping"].split(","))
    assert mapping["attribute.repository"] == "assertion.repository"
    [binding] = options("gcloud", "iam", "service-accounts", "add-iam-policy-binding")
    assert binding["--member"].startswith(f"principalSet://iam.googleapis.com/{pool}/attribute.repository/")


def test_the_role_of_gcp_goes_to_the_account_of_the_run_and_to_that_of_skypilots_machines() -> None:
    from sky.provision.gcp import constants  # SkyPilot takes seconds: here, and not in each process

    email = constants.SKYPILOT_SERVICE_ACCOUNT_EMAIL_TEMPLATE
    machines = email.format(account_id=constants.SKYPILOT_SERVICE_ACCOUNT_ID, project_id="PROJECT")
    bindings = options("gcloud", "projects", "add-iam-policy-binding")
    members = [one["--member"] for one in bindings]
    assert members == [f"serviceAccount:{inputs_of('gcp')['gcp_service_account']}", f"serviceAccount:{machines}"]
    [role] = options("gcloud", "iam", "roles", "create", "cvlCi")
    assert role["--file"] == "gcp.yaml"
    assert {one["--role"] for one in bindings} == {"projects/PROJECT/roles/cvlCi"}


def test_azure_trusts_the_tokens_that_its_credentials_request() -> None:
    [credential] = options("az", "ad", "app", "federated-credential", "create")
    parameters = json.loads(credential["--parameters"])
    assert parameters["issuer"] == ISSUER
    assert parameters["audiences"] == [azure_credentials.AUDIENCE]
    assert set(inputs_of("azure")) == set(azure_credentials.NAMES)
    assert {one["--role"] for one in options("az", "role", "assignment", "create")} == {
        "Contributor",
        "Role Based Access Control Administrator",
    }
