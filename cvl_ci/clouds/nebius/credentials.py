"""Nebius: a token or a service account's key, and a tenant, in files (sky/adaptors/nebius.py)."""

from __future__ import annotations

from cvl_ci.clouds.credential_provider import CredentialFiles, CredentialProvider, Environment, find_missing
from cvl_ci.clouds.key_files import NOTE
from cvl_ci.model.access import CloudAccess

TOKEN, KEY = "~/.nebius/NEBIUS_IAM_TOKEN.txt", "~/.nebius/credentials.json"
TENANT = "~/.nebius/NEBIUS_TENANT_ID.txt"


def check(environment: Environment) -> CloudAccess:
    available = [name for name in ("nebius_iam_token", "nebius_credentials_json") if environment.value_for_file(name)]
    available = available or [path for path in (TOKEN, KEY) if environment.exists(path)]
    missing = [] if available else ["any credentials"]
    takes = (
        [] if available else ["in a workflow `nebius_credentials_json` and `nebius_tenant_id`; in a terminal `nebius`"]
    )
    if available and not environment.value_for_file("nebius_tenant_id") and not environment.exists(TENANT):
        missing.append("`nebius_tenant_id`")
        takes.append(f"give `nebius_tenant_id`, or write it to {TENANT}")
    missing_software, steps = find_missing(
        environment, programs={}, modules={"nebius": "pip install 'skypilot[nebius]==0.14.*'"}
    )
    return CloudAccess(
        cloud="nebius",
        available=tuple(f"`{way}`" for way in available),
        missing=(*missing, *missing_software),
        takes=(*takes, *steps),
        notes=(NOTE,) if available else (),
    )


def write(environment: Environment) -> CredentialFiles:
    values = {
        TOKEN: environment.value_for_file("nebius_iam_token"),
        KEY: environment.value_for_file("nebius_credentials_json"),
        TENANT: environment.value_for_file("nebius_tenant_id"),
    }
    if not values[TOKEN] and not values[KEY]:
        return CredentialFiles()
    secrets = tuple(filter(None, (values[TOKEN], values[KEY])))
    return CredentialFiles(
        files={environment.expand(path): text for path, text in values.items() if text}, secrets=secrets
    )


NEBIUS = CredentialProvider(cloud="nebius", check=check, write=write)
