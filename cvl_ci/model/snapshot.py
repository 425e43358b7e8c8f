"""A model at one commit: its files, and the manifest that a bucket holds of it. Types and key names only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
REPO = re.compile(rf"(?:{_NAME}/)?{_NAME}")
"""huggingface_hub, utils/_validators.py: at most 96 characters a part, of `[A-Za-z0-9._-]`."""
COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_REF = "main"
MOST_FILES = 100_000
"""A manifest with more files is not valid: reading it would need the memory of a machine."""

_MOST_PATH = 900
"""S3 takes keys of 1024 bytes (S3 User Guide, "Object key naming guidelines"). The rest is for prefix and snapshot."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of a snapshot. `sha256`: empty where the hub knows only git's blob id.

    `blob`: the file's name below `blobs/` in a Hugging Face cache. It is the sha256, or git's blob id.
    """

    path: str
    size: int
    blob: str
    sha256: str = ""

    @property
    def content(self) -> str:
        """The identity of the bytes, as the source names it."""
        return f"sha256:{self.sha256}" if self.sha256 else f"git:{self.blob}"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A model at one commit. `ref`: the branch or tag that named the commit. `has_all`: no file is left out.

    `of_hub`: the hub can confirm it; a folder of a computer has no other witness.
    """

    repo: str
    commit: str
    files: tuple[ModelFile, ...]
    ref: str = ""
    has_all: bool = True
    of_hub: bool = True

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record that a snapshot in a bucket is whole: readers see the files only through it."""

    repo: str
    commit: str
    files: Mapping[str, ModelFile] = field(default_factory=dict)
    has_all: bool = False
    """Whether these are all files of the commit."""
    is_chosen: bool = False
    """Whether a person chose these files."""
    uploaded_at: str = ""
    of_hub: bool = True

    @property
    def is_enough(self) -> bool:
        """Return whether a job may use the model without the hub."""
        return self.has_all or self.is_chosen

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files.values())


def folder(repo: str) -> str:
    """Return `models--OWNER--NAME`, the folder of a model in a Hugging Face cache."""
    return "--".join(["models", *repo.split("/")])


def repo_of(name: str) -> str:
    """Return the repository of such a folder; empty for another name."""
    repo = "/".join(name.removeprefix("models--").split("--"))
    return repo if name.startswith("models--") and REPO.fullmatch(repo) else ""


def is_safe_path(path: str) -> bool:
    """Return whether a hub's file name stays in its folder on every machine, and fits into a key."""
    parts = path.split("/")
    is_clean = path.isprintable() and "\\" not in path and len(path.encode()) <= _MOST_PATH
    return is_clean and all(part not in {"", ".", ".."} for part in parts)
