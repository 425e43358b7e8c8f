"""The Registry port: the digest of a tag, by the OCI Distribution Specification 1.1, "Content Discovery".

A registry that wants a token names the address of its tokens in `WWW-Authenticate` (distribution.github.io, "Token
Authentication Specification"). Answers have bounds, and a login goes to no plain HTTP but this computer's.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cvl_ci.errors import ImageError
from cvl_ci.model.container_image import DIGEST, DOCKER_HUB, ImageName, RegistryLogin, is_loopback
from cvl_ci.result.sanitize import plain

if TYPE_CHECKING:
    from requests import Response

HUB_ADDRESS = "https://registry-1.docker.io"
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
LARGEST_MANIFEST = 4 << 20
"""The specification's own bound of a manifest."""
TIMEOUT = (5.0, 20.0)
_PARAMETER = re.compile(r'\b(\w{1,32})="([^"]*)"')
LONGEST_CHALLENGE = 4096


class OciRegistry:
    """Registries, asked over HTTP without a memory."""

    def digest(self, name: ImageName, login: RegistryLogin | None) -> str:
        import requests

        try:
            return self._digest(name, login)
        except requests.RequestException as error:
            raise ImageError(
                f"The registry {name.host} did not answer about {name.path}: {plain(str(error))[:200]}",
                next_step="Check its address and this computer's network, and run this again.",
            ) from None

    def _digest(self, name: ImageName, login: RegistryLogin | None) -> str:
        url = f"{address(name.host)}/v2/{name.path}/manifests/{name.reference}"
        answer = _get(url, "")
        if answer.status_code == 401:
            authorization = _authorization(answer, name, login)
            answer = _get(url, authorization) if authorization else answer
        if answer.status_code == 404:
            return ""
        if answer.status_code in {401, 403}:
            caller = f"the login of {login.user}" if login else "a caller without a login"
            raise ImageError(
                f"The registry {name.host} refuses {caller} to read {name.path} ({answer.status_code}).",
                next_step="Give a login that may read and write there: CVL_CI_REGISTRY_USER, CVL_CI_REGISTRY_PASSWORD.",
            )
        if answer.status_code != 200:
            raise ImageError(
                f"The registry {name.host} answered {answer.status_code} about {name.path}.",
                next_step="Run this again.",
            )
        computed = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        claimed = answer.headers.get("Docker-Content-Digest", computed)
        if not DIGEST.fullmatch(claimed) or claimed != computed or name.digest not in {"", computed}:
            raise ImageError(f"The registry {name.host} answered with a manifest whose digest is another.")
        return claimed


def address(host: str) -> str:
    """Return the address of a registry's API."""
    if host == DOCKER_HUB:
        return HUB_ADDRESS
    return f"{'http' if is_loopback(host) else 'https'}://{host}"


def _get(url: str, authorization: str, **parameters: Any) -> Response:
    from cvl_ci import bounded

    headers = {} if parameters else {"Accept": MANIFESTS}
    with bounded.session(authorization=authorization, most_bytes=LARGEST_MANIFEST) as session:
        session.trust_env = not is_loopback(urlsplit(url).netloc)
        return session.get(url, headers=headers, timeout=TIMEOUT, params=parameters or None)


def _authorization(refused: Response, name: ImageName, login: RegistryLogin | None) -> str:
    """Return the header for the next request, as the refusal wants it; empty: there is no way."""
    challenge = refused.headers.get("WWW-Authenticate", "")
    kind, _, rest = challenge.partition(" ")
    basic = ""
    if login is not None:
        pair = f"{login.user}:{login.password.reveal()}".encode()
        basic = f"Basic {base64.b64encode(pair).decode()}"
    if kind.lower() == "basic":
        return basic
    parameters = dict(_PARAMETER.findall(rest[:LONGEST_CHALLENGE]))
    if kind.lower() != "bearer" or not _is_safe(parameters.get("realm", ""), name.host):
        return ""
    scope = f"repository:{name.path}:pull"
    answer = _get(parameters["realm"], basic, service=parameters.get("service", ""), scope=scope)
    if answer.status_code != 200:
        return ""
    from cvl_ci.bounded import parsed

    document = parsed(answer.content)
    token = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
    return f"Bearer {token}" if isinstance(token, str) and token.isascii() and token.isprintable() else ""


def _is_safe(realm: str, host: str) -> bool:
    """Return whether a login may go to the realm that a host names: by HTTPS, or from this computer to itself."""
    try:
        parts = urlsplit(realm)
    except ValueError:
        return False
    if "@" in parts.netloc or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host) and is_loopback(parts.netloc))
