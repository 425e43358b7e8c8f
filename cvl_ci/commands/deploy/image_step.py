"""The step `image` of a deployment: an image of the example in a registry, built and pushed only if it is not there.

The tag is a digest of everything that the image follows from. So the registry itself is the memory, and a second
deployment of the same files asks it one question. The service refers to the digest in the registry after the push.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvl_ci.errors import ImageError
from cvl_ci.model.container_image import PLATFORM, ImageName, RegistryLogin, image_name
from cvl_ci.ports.images import ImageBuild, ImageBuilder, Registry, Tell

TAG_DIGITS = 32
LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class ImageContent:
    """Everything that an image follows from. `folder`: a copy of the example's files, which nothing else changes."""

    example: str
    folder: Path
    arguments: Mapping[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImagePorts:
    """Ports of this step. `login`: of a host; None: a stranger's."""

    builder: ImageBuilder
    registry: Registry
    login: Mapping[str, RegistryLogin | None]
    tell: Tell


@dataclass(frozen=True, kw_only=True)
class TaggedImage:
    """An image by its content. `digest`: empty if its registry does not have it.

    `pulls`: whether its base images are those of their registries, and not of this computer alone.
    """

    name: ImageName
    digest: str
    pulls: bool

    @property
    def reference(self) -> ImageName:
        """Return the name with the digest, which no later push can change."""
        return replace(self.name, tag="", digest=self.digest)


def find(repository: ImageName, content: ImageContent, ports: ImagePorts) -> TaggedImage:
    """Return the image of this content, and whether the registry has it. Build nothing. Raise ImageError."""
    bases = {base: _base(base, ports) for base in content.bases}
    pulls = all(is_remote for _, is_remote in bases.values())
    identities = {base: digest for base, (digest, _) in bases.items()}
    if not pulls:  # The engine then takes its own image of each base that it has, and asks no registry.
        local_images = {base: ports.builder.local_image(base) for base in bases if "@" not in base}
        identities |= {base: local.id for base, local in local_images.items() if local is not None}
    tag = content_tag(content, identities)
    name = replace(repository, tag=tag)
    digest = ports.registry.digest(name, ports.login.get(name.host))
    return TaggedImage(name=name, digest=digest, pulls=pulls)


def ensure(repository: ImageName, content: ImageContent, ports: ImagePorts) -> ImageName:
    """Return the image by its digest, after the registry has it. Raise ImageError."""
    image = find(repository, content, ports)
    if image.digest:
        ports.tell(f"step image: {image.name} is in its registry already; nothing is built")
        return image.reference
    ports.tell(f"step image: building {image.name}")
    build = ImageBuild(
        folder=content.folder,
        name=image.name,
        arguments=content.arguments,
        logins=ports.login,
        pulls=image.pulls and bool(content.bases),
    )
    ports.builder.build(build, tell=ports.tell)
    ports.tell(f"step image: pushing {image.name}")
    pushed = ports.builder.push(image.name, ports.login.get(image.name.host))
    proved = ports.registry.digest(image.name, ports.login.get(image.name.host))
    if proved != pushed:
        raise ImageError(
            f"After the push, {image.name} is {proved or 'not in its registry'}, and not {pushed}.",
            next_step="Another program pushes to the same tag, or the registry lost it: run this again.",
        )
    ports.tell(f"step image: {image.name.repository}@{proved} is in its registry, and stays there")
    return replace(image, digest=proved).reference


def require_readable(image: ImageName, registry: Registry, *, has_login: bool) -> None:
    """Raise ImageError if a machine could not pull the image: machines get no login that the user did not send."""
    if has_login:
        return
    try:
        if registry.digest(image, None):
            return
    except ImageError:
        pass
    raise ImageError(
        f"The registry {image.host} refuses {image.path} without a login, and cvl-ci sends no login to a machine.",
        next_step="Make that repository public, or send a login that may only read, as secrets of the job: "
        "SKYPILOT_DOCKER_USERNAME, SKYPILOT_DOCKER_PASSWORD and SKYPILOT_DOCKER_SERVER.",
    )


def content_tag(content: ImageContent, bases: Mapping[str, str]) -> str:
    """Return the tag of a content: the example's name, and a digest of files, arguments, base images and platform."""
    digest = hashlib.sha256(f"cvl-ci image 2\0{PLATFORM}\0".encode())
    for base, identity in sorted(bases.items()):
        digest.update(f"base\0{base}\0{identity}\0".encode())
    for key, value in sorted(content.arguments.items()):
        digest.update(f"argument\0{key}\0{value}\0".encode())
    for path in sorted(path for path in content.folder.rglob("*") if path.is_file()):
        mode = "x" if path.stat().st_mode & stat.S_IXUSR else "-"
        own = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"file\0{path.relative_to(content.folder).as_posix()}\0{mode}\0{own}\0".encode())
    slug = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in content.example.lower())
    return f"{slug.strip('-')[:LONGEST_NAME] or 'example'}-{digest.hexdigest()[:TAG_DIGITS]}"


def _base(base: str, ports: ImagePorts) -> tuple[str, bool]:
    """Return the digest of a base image, and whether its registry answered. Else it is the id of this computer's image.

    `docker build` without `--pull` takes an image of this computer. No registry has an image of an own build.
    """
    name = image_name(base)
    if name is None:
        raise ImageError(f"The Dockerfile begins FROM {base}, which is not the name of an image.")
    if name.digest:
        return name.digest, True
    local = ports.builder.local_image(base)
    if local is not None and local.is_made_here:
        return local.id, False
    problem = "its registry does not have it"
    try:
        if digest := ports.registry.digest(name, ports.login.get(name.host)):
            return digest, True
    except ImageError as error:
        problem = error.what
    if local is not None:
        return local.id, False
    raise ImageError(
        f"The Dockerfile begins FROM {base}, and it is neither in its registry nor on this computer: {problem}",
        next_step="Check the name of the base image, and this computer's way to its registry.",
    )
