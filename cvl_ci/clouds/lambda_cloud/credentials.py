"""Lambda: one API key in one file (sky/provision/lambda_cloud/lambda_utils.py)."""

from __future__ import annotations

from cvl_ci.clouds.credential_provider import CredentialFiles, CredentialProvider, Environment
from cvl_ci.clouds.key_files import check_key
from cvl_ci.model.access import CloudAccess

FILE = "~/.lambda_cloud/lambda_keys"


def check(environment: Environment) -> CloudAccess:
    return check_key(environment, cloud="lambda", name="lambda_api_key", file=FILE, modules={})


def write(environment: Environment) -> CredentialFiles:
    key = environment.value_for_file("lambda_api_key")
    return (
        CredentialFiles(files={environment.expand(FILE): f"api_key = {key}\n"}, secrets=(key,))
        if key
        else CredentialFiles()
    )


LAMBDA = CredentialProvider(cloud="lambda", check=check, write=write)
