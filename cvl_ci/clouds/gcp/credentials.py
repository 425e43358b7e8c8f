"""GCP: a service account, by its JSON key or by GitHub's OIDC token (workload identity federation).

SkyPilot's check wants google.auth's default credentials *and* gcloud's active account to be a service account
(sky/clouds/gcp.py, _check_credentials), so gcloud is logged in with the same file, in a configuration of its own.
google.auth asks GitHub anew by itself whenever its token is over.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cvl_ci.clouds import oidc
from cvl_ci.clouds.credential_provider import ALLOW_OIDC, OIDC, Here, Kind, Login, Written, lacking
from cvl_ci.model.access import CloudAccess

PROVIDER = re.compile(r"projects/\d+/locations/global/workloadIdentityPools/[\w-]+/providers/[\w-]+")
ADC = "~/.config/gcloud/application_default_credentials.json"
TAKES = (
    "in a workflow `gcp_workload_identity_provider` and `gcp_service_account` (with `permissions: id-token: write`), "
    "or `gcp_credentials_json`; in a terminal `gcloud init` and `gcloud auth application-default login`"
)


def look(here: Here) -> CloudAccess:
    there, missing, takes = _way(here)
    if not there and not missing:
        missing, takes = ["any credentials"], [TAKES]
    extra = "pip install 'cvl-ci[gcp]'"
    gone, how = lacking(
        here,
        programs={"gcloud": "install the Google Cloud CLI: cloud.google.com/sdk/docs/install"},
        modules={"google.auth": extra, "googleapiclient": extra},
    )
    return CloudAccess(cloud="gcp", there=tuple(there), missing=(*missing, *gone), takes=(*takes, *how))


def write(here: Here) -> Written:
    key, provider = here.as_input("gcp_credentials_json"), here.as_input("gcp_workload_identity_provider")
    if not key and not provider:
        return Written()
    path, config = here.folder / "gcp.json", here.folder / "gcloud"
    text = key or json.dumps(_external_account(here, provider))
    project = here.given("gcp_project") or _project(_read(key))
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), "CLOUDSDK_CONFIG": str(config)}
    if project:
        variables |= {"GOOGLE_CLOUD_PROJECT": project, "CLOUDSDK_CORE_PROJECT": project}
    return Written(
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


GCP = Kind(cloud="gcp", look=look, write=write)


def _way(here: Here) -> tuple[list[str], list[str], list[str]]:
    if key := here.as_input("gcp_credentials_json"):
        return _key(here, _read(key))
    if provider := here.as_input("gcp_workload_identity_provider"):
        return _federated(here, provider)
    if path := here.variable("GOOGLE_APPLICATION_CREDENTIALS"):
        if here.exists(path):
            return [f"the file of GOOGLE_APPLICATION_CREDENTIALS, {path}"], [], []
        missing = f"the file that GOOGLE_APPLICATION_CREDENTIALS names, {path}"
        return [], [missing], ["unset that variable, or put the file there"]
    return ([f"application default credentials in {ADC}"], [], []) if here.exists(ADC) else ([], [], [])


def _key(here: Here, key: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    wanted = ("client_email", "private_key")
    if key.get("type") != "service_account" or not all(isinstance(key.get(name), str) for name in wanted):
        missing = "a service account's key: `gcp_credentials_json` is no such JSON"
        return [], [missing], ["give the whole file that `gcloud iam service-accounts keys create` wrote"]
    if not here.given("gcp_project") and not _project(key):
        return [], ["a project: the key names none"], ["give `gcp_project`"]
    return [f"the key of {key['client_email']}"], [], []


def _federated(here: Here, provider: str) -> tuple[list[str], list[str], list[str]]:
    missing, takes = [], []
    if not PROVIDER.fullmatch(provider):
        missing.append("a provider: `gcp_workload_identity_provider` is no full name of one")
        takes.append("give it as `projects/123/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`")
    for name in ("gcp_service_account", "gcp_project"):
        if not here.given(name):
            missing.append(f"`{name}`, since `gcp_workload_identity_provider` is given")
            takes.append(f"give `{name}`")
    if not here.oidc:
        missing.append("GitHub's OIDC token, for `gcp_workload_identity_provider`")
        takes.append(ALLOW_OIDC)
    account = here.given("gcp_service_account")
    return [] if missing else [f"{account}, by GitHub's OIDC token"], missing, takes


def _external_account(here: Here, provider: str) -> dict[str, object]:
    """After google.auth's `identity_pool` credentials (AIP-4117)."""
    account = here.given("gcp_service_account")
    impersonate = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
    return {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{provider}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": f"{impersonate}/{account}:generateAccessToken",
        "credential_source": {
            "url": oidc.request_url(here.environ, f"https://iam.googleapis.com/{provider}"),
            "headers": {"Authorization": f"Bearer {here.environ[OIDC[1]]}"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
    }


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _project(key: dict[str, Any]) -> str:
    found = key.get("project_id")
    return found if isinstance(found, str) else ""
