"""The ports that build a container image and read a registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cvl_ci.model.container_image import ImageName, RegistryLogin

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ImageBuild:
    """One build: its folder with the Dockerfile, its arguments, and the name that the image gets here.

    `pulls`: whether the engine asks the registries for the base images again.
    """

    folder: Path
    name: ImageName
    arguments: Mapping[str, str] = field(default_factory=dict)
    logins: Mapping[str, RegistryLogin | None] = field(default_factory=dict)
    """By host: of the base images' registries."""
    pulls: bool = False


@dataclass(frozen=True, kw_only=True)
class LocalImage:
    """An image of this computer. `is_made_here`: it came from no registry."""

    id: str
    is_made_here: bool


class ImageBuilder(Protocol):
    """The container engine of this computer."""

    def local_image(self, name: str) -> LocalImage | None:
        """Return an image of this computer; None: it has none of this name, or no engine answers."""

    def build(self, build: ImageBuild, *, tell: Tell) -> None:
        """Build the image for the machines' platform. `tell` hears each line. Raise ImageError with the last lines."""

    def push(self, name: ImageName, login: RegistryLogin | None) -> str:
        """Push a tag and return the digest that the registry took. Raise ImageError with its answer."""


class Registry(Protocol):
    """The registries of images, asked by HTTP."""

    def digest(self, name: ImageName, login: RegistryLogin | None) -> str:
        """Return the digest of a tag or digest; empty: the registry has none. Raise ImageError without an answer."""
