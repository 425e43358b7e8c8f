"""The login of a registry: that of the user, else a short-lived one from the cloud's own credentials.

No file of the user, no log and no machine gets it.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvl_ci.clouds.child_environment import for_programs
from cvl_ci.clouds.programs import programs
from cvl_ci.errors import CredentialsError
from cvl_ci.model.container_image import DOCKER_HUB, PASSWORD_VARIABLE, USER_VARIABLE, RegistryLogin
from cvl_ci.model.secret import Secret

USER, PASSWORD = USER_VARIABLE, PASSWORD_VARIABLE
ECR = re.compile(r"\d{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
GOOGLE = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io")
ACR = re.compile(r"[a-z0-9]+\.azurecr\.(?:io|cn|us)")
GHCR = "ghcr.io"
ACR_USER = "00000000-0000-0000-0000-000000000000"
"""github.com/Azure/acr, docs/AAD-OAuth.md: the user of a refresh token."""
GOOGLE_USER = "oauth2accesstoken"
"""cloud.google.com/artifact-registry/docs/docker/authentication, "Access token"."""
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)
_HELPER = re.compile(r"[a-z0-9-]+")
_HELPER_SECONDS = 30

Find = Callable[[], RegistryLogin]


@dataclass(frozen=True, kw_only=True)
class TokenSources:
    """The clouds' own ways to a token. `ecr`: the answer of GetAuthorizationToken in a region.

    `google`: an access token. `azure`: one for Azure's management. `acr`: the refresh token of a host for such a token.
    """

    ecr: Callable[[str], Mapping[str, Any]]
    google: Callable[[], str]
    azure: Callable[[], str]
    acr: Callable[[str, str], Mapping[str, Any]]


def find(
    host: str, environ: Mapping[str, str], *, config: Mapping[str, Any], sources: TokenSources
) -> RegistryLogin | None:
    """Return the login of a registry; None: nothing here knows one. `config`: the user's own settings of Docker.

    Raise CredentialsError if the cloud's own credentials give none.
    """
    if environ.get(PASSWORD):
        return RegistryLogin(user=environ.get(USER) or "token", password=Secret(environ[PASSWORD]))
    if own := _of_docker(host, config, environ):
        return own
    if match := ECR.fullmatch(host):
        return _login_of(host, "AWS", lambda: _of_ecr(sources.ecr(match["region"])))
    if GOOGLE.fullmatch(host):
        return _login_of(host, "Google Cloud", lambda: _of_google(sources.google()))
    if ACR.fullmatch(host):
        return _login_of(host, "Azure", lambda: _of_acr(sources.acr(host, sources.azure())))
    if host == GHCR and environ.get("GITHUB_TOKEN"):
        return RegistryLogin(user=environ.get("GITHUB_ACTOR") or "token", password=Secret(environ["GITHUB_TOKEN"]))
    return None


def token_sources(environ: Mapping[str, str]) -> TokenSources:
    """Return the real sources. Each asks with the credentials that this process has."""

    def ecr(region: str) -> Mapping[str, Any]:
        from cvl_ci.clouds.aws.clients import service_clients

        answer: Mapping[str, Any] = service_clients()("ecr", region).get_authorization_token()
        return answer

    def google() -> str:
        import google.auth
        from google.auth.transport.requests import Request

        credentials: tuple[Any, Any] = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        credentials[0].refresh(Request())
        return str(credentials[0].token)

    def azure() -> str:
        from cvl_ci.clouds.azure.inventory import token_from

        return token_from(programs(for_programs(environ))).text

    return TokenSources(ecr=ecr, google=google, azure=azure, acr=exchanged)


def exchanged(host: str, token: str, *, scheme: str = "https") -> Mapping[str, Any]:
    """Return ACR's answer to `POST /oauth2/exchange`: github.com/Azure/acr, docs/AAD-OAuth.md."""
    from cvl_ci import bounded

    form = {"grant_type": "access_token", "service": host, "access_token": token}
    with bounded.session() as session:
        answer = session.post(f"{scheme}://{host}/oauth2/exchange", data=form, timeout=(5, 30))
        answer.raise_for_status()
        document = bounded.parsed(answer.content)
    return document if isinstance(document, dict) else {}


def _login_of(host: str, cloud: str, login: Find) -> RegistryLogin:
    try:
        return login()
    except Exception as error:  # noqa: BLE001  each cloud's library raises errors of its own
        raise CredentialsError(
            f"The credentials of {cloud} gave no login for {host}: {type(error).__name__}: {str(error)[:200]}",
            next_step=f"Check them with `cvl-ci check`, or give {USER} and {PASSWORD}.",
        ) from None


def _of_google(token: str) -> RegistryLogin:
    return RegistryLogin(user=GOOGLE_USER, password=Secret(token))


def _of_ecr(answer: Mapping[str, Any]) -> RegistryLogin:
    """Read `authorizationData[0].authorizationToken`: base64 of USER:PASSWORD (Amazon ECR API reference)."""
    data = answer["authorizationData"]
    user, sign, password = base64.b64decode(data[0]["authorizationToken"], validate=True).decode().partition(":")
    if not sign or not password:
        raise ValueError("its token has no password")
    return RegistryLogin(user=user, password=Secret(password))


def _of_acr(answer: Mapping[str, Any]) -> RegistryLogin:
    token = answer.get("refresh_token")
    if not isinstance(token, str) or not token:
        raise ValueError("its answer has no refresh_token")
    return RegistryLogin(user=ACR_USER, password=Secret(token))


def _of_docker(host: str, config: Mapping[str, Any], environ: Mapping[str, str]) -> RegistryLogin | None:
    """Return the login of `docker login`, from its file or from its helper program."""
    keys = _HUB_KEYS if host == DOCKER_HUB else (host, f"https://{host}")
    helpers = config.get("credHelpers")
    helper = next((helpers[key] for key in keys if key in helpers), None) if isinstance(helpers, dict) else None
    if name := helper or config.get("credsStore"):
        return _of_helper(str(name), keys[0], environ)
    auths = config.get("auths")
    entry = next((auths[key] for key in keys if key in auths), None) if isinstance(auths, dict) else None
    text = entry.get("auth") if isinstance(entry, dict) else None
    if not isinstance(text, str) or not text:
        return None
    try:
        user, sign, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return None
    return RegistryLogin(user=user, password=Secret(password)) if sign and password else None


def _of_helper(name: str, key: str, environ: Mapping[str, str]) -> RegistryLogin | None:
    """Ask docker-credential-NAME: github.com/docker/docker-credential-helpers, "get"."""
    if not _HELPER.fullmatch(name):
        return None
    words: Sequence[str] = (f"docker-credential-{name}", "get")
    try:
        answer = subprocess.run(
            words,
            input=key,
            env=for_programs(environ),
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
        document = json.loads(answer.stdout) if answer.returncode == 0 else {}
        user, secret = document.get("Username"), document.get("Secret")
    except (OSError, ValueError, AttributeError, RecursionError, subprocess.TimeoutExpired):
        return None
    if not isinstance(user, str) or not isinstance(secret, str) or not user or not secret:
        return None
    return RegistryLogin(user=user, password=Secret(secret))
