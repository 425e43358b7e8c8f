"""A remote SkyPilot API server: its address and a service account's token. The server has the clouds' credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

from cvl_ci.clouds.credential_provider import CredentialFiles, CredentialProvider, Environment
from cvl_ci.model.access import CloudAccess


def check(environment: Environment) -> CloudAccess:
    endpoint, token = (
        environment.value("skypilot_api_server_endpoint"),
        environment.value("skypilot_service_account_token"),
    )
    missing, takes = [], []
    if not endpoint:
        missing, takes = ["an address"], ["give `skypilot_api_server_endpoint`"]
    elif not endpoint.startswith(("https://", "http://")):
        missing, takes = ["an address: it begins with neither https:// nor http://"], ["give the whole address"]
    elif "@" in urlsplit(endpoint).netloc:
        # SkyPilot's messages about a server contain the whole address, and its password would replace the token.
        missing, takes = ["an address without a user and a password in it"], ["leave them out: the token lets us in"]
    if not token.startswith("sky_"):
        missing.append("a token that begins with `sky_`" if token else "a token")
        takes.append("give `skypilot_service_account_token`")
    available = () if missing else ("an address and a token",)
    return CloudAccess(
        cloud="api-server",
        available=available,
        missing=tuple(missing),
        takes=tuple(takes),
    )


def write(environment: Environment) -> CredentialFiles:
    """Return variables: SkyPilot's client reads them before its configuration (sky/client/service_account_auth.py)."""
    token = environment.value("skypilot_service_account_token")
    return CredentialFiles(
        variables={
            "SKYPILOT_API_SERVER_ENDPOINT": environment.value("skypilot_api_server_endpoint"),
            "SKYPILOT_SERVICE_ACCOUNT_TOKEN": token,
        },
        secrets=(token,),
    )


API_SERVER = CredentialProvider(cloud="api-server", check=check, write=write)
