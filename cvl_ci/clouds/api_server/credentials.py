"""A remote SkyPilot API server: its address and a service account's token. It has the clouds' credentials, we none."""

from __future__ import annotations

from urllib.parse import urlsplit

from cvl_ci.clouds.credential_provider import Here, Kind, Written
from cvl_ci.model.access import CloudAccess


def look(here: Here) -> CloudAccess:
    endpoint, token = here.given("skypilot_api_server_endpoint"), here.given("skypilot_service_account_token")
    missing, takes = [], []
    if not endpoint:
        missing, takes = ["an address"], ["give `skypilot_api_server_endpoint`"]
    elif not endpoint.startswith(("https://", "http://")):
        missing, takes = ["an address: it begins with neither https:// nor http://"], ["give the whole address"]
    elif "@" in urlsplit(endpoint).netloc:
        # What SkyPilot says of a server names its whole address, and the password would take the token's place.
        missing, takes = ["an address without a user and a password in it"], ["leave them out: the token lets us in"]
    if not token.startswith("sky_"):
        missing.append("a token that begins with `sky_`" if token else "a token")
        takes.append("give `skypilot_service_account_token`")
    there = () if missing else ("an address and a token",)
    return CloudAccess(
        cloud="api-server",
        there=there,
        missing=tuple(missing),
        takes=tuple(takes),
    )


def write(here: Here) -> Written:
    """Variables only: SkyPilot's client reads these before its configuration (sky/client/service_account_auth.py)."""
    token = here.given("skypilot_service_account_token")
    return Written(
        variables={
            "SKYPILOT_API_SERVER_ENDPOINT": here.given("skypilot_api_server_endpoint"),
            "SKYPILOT_SERVICE_ACCOUNT_TOKEN": token,
        },
        secrets=(token,),
    )


API_SERVER = Kind(cloud="api-server", look=look, write=write)
