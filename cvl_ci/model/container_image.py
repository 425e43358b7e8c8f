"""The name of a container image in a registry, its parts, and a login. Values only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cvl_ci.model.secret import Secret

DOCKER_HUB = "docker.io"
USER_VARIABLE, PASSWORD_VARIABLE = "CVL_CI_REGISTRY_USER", "CVL_CI_REGISTRY_PASSWORD"
"""The variables of a registry's login."""
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3})(?::\d{1,5})?")
PLATFORM = "linux/amd64"
"""The platform of the machines, and so of each image."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?::\d{1,5})?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
PATH = re.compile(rf"{_PART}(?:/{_PART})*")
"""github.com/distribution/reference, `path-component`."""
_NAME = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{PATH.pattern})(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>\S+))?"
)


@dataclass(frozen=True, kw_only=True)
class ImageName:
    """An image: its registry's host, its path there, and a tag or a digest."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.host}/{self.path}"

    @property
    def reference(self) -> str:
        """Return the tag or digest that names a manifest. A digest goes before a tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        return f"{self.repository}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"


@dataclass(frozen=True, kw_only=True)
class RegistryLogin:
    """A user and a password, or a token, of one registry."""

    user: str
    password: Secret


def image_name(text: str) -> ImageName | None:
    """Return the parts of a name as Docker reads it; None: it is not a name.

    The first part is a host if it has a dot or a port, or is `localhost`. Else the image is of Docker Hub.
    """
    match = _NAME.fullmatch(text)
    if match is None or (match["digest"] and not DIGEST.fullmatch(match["digest"])):
        return None
    host, path = match["host"] or "", match["path"]
    if host and not (set(".:") & set(host) or host == "localhost"):
        host, path = "", f"{host}/{path}"
    if host in {"", DOCKER_HUB, "index.docker.io"}:
        host, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
    return ImageName(host=host, path=path, tag=match["tag"] or "", digest=match["digest"] or "")


def is_loopback(host: str) -> bool:
    """Return whether a registry is on this computer: Docker speaks plain HTTP with it (dockerd, insecure-registry)."""
    return _LOOPBACK.fullmatch(host) is not None
