"""GCP: a service account with its JSON key or with GitHub's OIDC token (workload identity federation).

SkyPilot's check needs google.auth's default credentials *and* a service account as gcloud's active account
(sky/clouds/gcp.py, _check_credentials). So gcloud logs in with the same file, in a configuration of its own.
google.auth gets a new token from GitHub by itself when one expires.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cvl_ci.clouds import oidc
from cvl_ci.clouds.credential_provider import (
    ALLOW_OIDC,
    OIDC,
    CredentialFiles,
    CredentialProvider,
    Environment,
    Login,
    find_missing,
)
from cvl_ci.model.access import CloudAccess

PROVIDER = re.compile(r"projects/\d+/locations/global/workloadIdentityPools/[\w-]+/providers/[\w-]+")
ADC = "~/.config/gcloud/application_default_credentials.json"
TAKES = (
    "in a workflow `gcp_workload_identity_provider` and `gcp_service_account` (with `permissions: id-token: write`), "
    "or `gcp_credentials_json`; in a terminal `gcloud init` and `gcloud auth application-default login`"
)


def check(environment: Environment) -> CloudAccess:
    available, missing, takes = _way(environment)
    if not available and not missing:
        missing, takes = ["any credentials"], [TAKES]
    extra = "pip install 'cvl-ci[gcp]'"
    missing_software, steps = find_missing(
        environment,
        programs={"gcloud": "install the Google Cloud CLI: cloud.google.com/sdk/docs/install"},
        modules={"google.auth": extra, "googleapiclient": extra},
    )
    return CloudAccess(
        cloud="gcp", available=tuple(available), missing=(*missing, *missing_software), takes=(*takes, *steps)
    )


def write(environment: Environment) -> CredentialFiles:
    key, provider = environment.as_input("gcp_credentials_json"), environment.as_input("gcp_workload_identity_provider")
    if not key and not provider:
        return CredentialFiles()
    path, config = environment.folder / "gcp.json", environment.folder / "gcloud"
    text = key or json.dumps(_external_account(environment, provider))
    project = environment.value("gcp_project") or _project(_read(key))
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), "CLOUDSDK_CONFIG": str(config)}
    if project:
        variables |= {"GOOGLE_CLOUD_PROJECT": project, "CLOUDSDK_CORE_PROJECT": project}
    return CredentialFiles(
        files={path: text},
        variables=variables,
        without=("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "CLOUDSDK_AUTH_ACCESS_TOKEN"),
        secrets=(text,),
        logins=(
            Login(
                command=("gcloud", "auth", "login", "--quiet", f"--cred-file={path}"),
                variables={"CLOUDSDK_CONFIG": str(config)},
                leaves=config,
            ),
        ),
        stays_here=True,
    )


GCP = CredentialProvider(cloud="gcp", check=check, write=write)


def _way(environment: Environment) -> tuple[list[str], list[str], list[str]]:
    if key := environment.as_input("gcp_credentials_json"):
        return _key(environment, _read(key))
    if provider := environment.as_input("gcp_workload_identity_provider"):
        return _federated(environment, provider)
    if path := environment.variable("GOOGLE_APPLICATION_CREDENTIALS"):
        if environment.exists(path):
            return [f"the file of GOOGLE_APPLICATION_CREDENTIALS, {path}"], [], []
        missing = f"the file that GOOGLE_APPLICATION_CREDENTIALS names, {path}"
        return [], [missing], ["unset that variable, or put the file there"]
    return ([f"application default credentials in {ADC}"], [], []) if environment.exists(ADC) else ([], [], [])


def _key(environment: Environment, key: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    required = ("client_email", "private_key")
    if key.get("type") != "service_account" or not all(isinstance(key.get(name), str) for name in required):
        missing = "a service account's key: `gcp_credentials_json` is not one"
        return [], [missing], ["give the whole file that `gcloud iam service-accounts keys create` wrote"]
    if not environment.value("gcp_project") and not _project(key):
        return [], ["a project: the key names none"], ["give `gcp_project`"]
    return [f"the key of {key['client_email']}"], [], []


def _federated(environment: Environment, provider: str) -> tuple[list[str], list[str], list[str]]:
    missing, takes = [], []
    if not PROVIDER.fullmatch(provider):
        missing.append("a provider: `gcp_workload_identity_provider` is not a full name")
        takes.append("give it as `projects/123/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`")
    for name in ("gcp_service_account", "gcp_project"):
        if not environment.value(name):
            missing.append(f"`{name}`, since `gcp_workload_identity_provider` is given")
            takes.append(f"give `{name}`")
    if not environment.oidc:
        missing.append("GitHub's OIDC token, for `gcp_workload_identity_provider`")
        takes.append(ALLOW_OIDC)
    account = environment.value("gcp_service_account")
    return [] if missing else [f"{account}, by GitHub's OIDC token"], missing, takes


def _external_account(environment: Environment, provider: str) -> dict[str, object]:
    """Return credentials after google.auth's `identity_pool` (AIP-4117)."""
    account = environment.value("gcp_service_account")
    impersonate = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
    return {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{provider}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": f"{impersonate}/{account}:generateAccessToken",
        "credential_source": {
            "url": oidc.request_url(environment.environ, f"https://iam.googleapis.com/{provider}"),
            "headers": {"Authorization": f"Bearer {environment.environ[OIDC[1]]}"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
    }


def _read(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _project(key: dict[str, Any]) -> str:
    project = key.get("project_id")
    return project if isinstance(project, str) else ""
