"""Acme: one API key in one file."""

from __future__ import annotations

from cvl_ci.clouds.credential_provider import CredentialFiles, CredentialProvider, Environment
from cvl_ci.model.access import CloudAccess

FILE = "~/.acme/key"


def check(environment: Environment) -> CloudAccess:
    if environment.exists(FILE) or environment.variable("ACME_KEY"):
        return CloudAccess(cloud="acme", available=("a key",))
    return CloudAccess(cloud="acme", missing=("any credentials",), takes=(f"the file {FILE}",))


def write(environment: Environment) -> CredentialFiles:
    key = environment.variable("ACME_KEY")
    return CredentialFiles(files={environment.expand(FILE): key}, secrets=(key,)) if key else CredentialFiles()


ACME = CredentialProvider(cloud="acme", check=check, write=write)
