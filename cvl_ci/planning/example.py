"""Read an example.yaml of any dialect into one form. Pure: its text and its directory's file names are arguments."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cvl_ci.inputs import parsers
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import presets, safe_yaml
from cvl_ci.planning import resources as needs
from cvl_ci.planning.resources import Declared

FILE_NAME = "example.yaml"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example.

    `presets`: name → its declaration, read only when chosen. `image`: the name of its image.
    """

    directory: str
    name: str
    presets: Mapping[str, object]
    declared: Declared
    image: str | None
    resources: Mapping[str, Any]
    files: frozenset[str]
    """Relative to the directory."""
    sends: tuple[str, ...] | None = None
    """Its `files:`, globs from the root of the repository; None: it has no `files:`."""
    unseen: frozenset[str] = frozenset()
    """Scripts that are assumed to exist, because no source of the example is in this checkout."""

    @property
    def yaml_path(self) -> str:
        return f"{self.directory}/{FILE_NAME}".removeprefix("./")

    def code(self, texts: Mapping[str, str]) -> Iterator[str]:
        """Yield the example's code: its sources, and of its example.yaml the commands of its presets.

        Notes in that file, such as those of its last verification, say nothing about what the code needs.
        """
        yield from (text for path, text in texts.items() if path != FILE_NAME)
        yield presets.commands(self.presets)

    def warnings(self, *, gpu_given: bool) -> tuple[str, ...]:
        silent = "It does not declare whether it needs a GPU, so it gets none: request one with gpu if it does."
        alone = f"This checkout has only the {FILE_NAME} of this example, without scripts: plan works, run does not."
        unclear = self.declared.gpus is None and not gpu_given
        return (*([silent] if unclear else []), *([alone] if self.unseen else []), *self.declared.notes)


def read(content: bytes, *, directory: str, files: Collection[str]) -> Example:
    """Read an example. Raises safe_yaml.Unreadable."""
    document = safe_yaml.load_mapping(content)
    name = document.get("name")
    unseen: set[str] = set() if any(map(_is_source, files)) else presets.mentioned(document.get("presets"))
    files = {*files, *unseen}
    resources = document.get("resources")
    return Example(
        directory=directory,
        name=str(name).strip() if name else directory.rpartition("/")[2],
        presets=presets.declared(document.get("presets"), files=files),
        declared=needs.declared(document),
        image=_image(document),
        resources=resources if isinstance(resources, Mapping) else {},
        files=frozenset(files),
        sends=_sends(document),
        unseen=frozenset(unseen),
    )


def peek_name(head: bytes) -> str | None:
    """Read the name from the first lines alone: enough to find one example among hundreds."""
    match = re.search(rb"^name:[ \t]*(['\"]?)([^\r\n#]*?)\1[ \t]*(?:#.*)?\r?$", head, re.MULTILINE)
    return match[2].decode(errors="replace").strip() if match and match[2].strip() else None


def _sends(document: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "files" not in document:
        return None
    globs = document["files"]
    if globs is None:
        return ()
    if not isinstance(globs, str | list) or not all(isinstance(glob, str) for glob in globs):
        raise safe_yaml.Unreadable("has `files` that is not a list of globs")
    try:
        return parsers.globs(globs)
    except Wrong as wrong:
        raise safe_yaml.Unreadable(f"names {wrong.display!r} in `files`, which leads out of the repository") from None


def _image(document: Mapping[str, Any]) -> str | None:
    """Return `image:`, else `docker:`, which is an image's name or a mapping with one."""
    docker = document.get("docker")
    for image in (document.get("image"), docker.get("image") if isinstance(docker, Mapping) else docker):
        if isinstance(image, str) and re.fullmatch(r"[A-Za-z0-9][\w.:/@-]*", image.strip()):
            return image.strip()
    return None


def _is_source(file: str) -> bool:
    return file.endswith((".sh", ".py", ".ipynb")) or file.rpartition("/")[2].startswith("Dockerfile")
