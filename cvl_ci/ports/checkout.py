"""The checkout we stand in, and the copy of it that goes along to a machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.plan import Blob, CommitCopy, StagedFile
from cvl_ci.planning.folder_files import FolderRule


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of the checkout: posix path relative to its root, size in bytes.

    `source`: absolute, where its content is: a link's target, which is inside the root as well; or a commit's blob.
    """

    path: str
    bytes: int
    source: str | Blob


@dataclass(frozen=True, kw_only=True)
class FolderFiles:
    """The files of a folder. `entries`: those that go to a machine, with paths relative to the root of the checkout.

    `reasons`: path → why it stays; a path that ends in `/` is a folder with all below it. `tracked`: the paths among
    `entries` that git tracks.
    """

    entries: Sequence[Entry]
    reasons: Mapping[str, str]
    tracked: Collection[str] = ()


class Paths:
    """The names of all files in a checkout, and of the folders that hold them. Posix, relative to the root, `.`."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = frozenset(files)
        children: dict[str, set[str]] = {".": set()}
        for path in self.files:
            inner = path
            while inner != ".":
                folder, _, name = inner.rpartition("/")
                known = children.setdefault(folder or ".", set())
                if name in known:
                    break
                known.add(name)
                inner = folder or "."
        self._children = children

    def is_file(self, path: str) -> bool:
        return path in self.files

    def is_folder(self, path: str) -> bool:
        return path in self._children

    def children(self, folder: str) -> Collection[str]:
        """Names of files and folders directly in it."""
        return self._children.get(folder, ())


class Checkout(Protocol):
    """The repository (or plain folder) that holds the examples. Tracked files only, where git knows them."""

    @property
    def root(self) -> Path: ...

    @property
    def head(self) -> str:
        """The commit that is checked out, in full; empty: none that git knows."""

    def examples(self) -> Sequence[str]:
        """Every directory with an example.yaml, posix, relative to the root, sorted."""

    def paths(self) -> Paths:
        """The names of all files: those that git tracks, and new ones that it does not ignore."""

    def files(self, *prefixes: str) -> Sequence[Entry]:
        """All files under these directories (or the files themselves) that belong to the checkout."""

    def left_behind(self, *prefixes: str) -> Mapping[str, str]:
        """Path → why: what is there and does not go along (a link out of the root, a submodule, not tracked, ...)."""

    def folder(self, path: str, rule: FolderRule) -> FolderFiles:
        """Every file below a folder, whether git tracks it or not, but for those that the rule leaves out."""

    def locate(self, typed: str) -> str | None:
        """A path as a person types it, absolute or from where they stand: relative to the root; None: outside."""

    def read(self, path: str, *, limit: int) -> bytes:
        """At most `limit` bytes of one file. Raises OSError."""

    def at(self, ref: str) -> Checkout:
        """The same repository as it was where this checkout left `ref`. Raises Wrong: no such commit, or no git."""


class Staging(Protocol):
    def staged(
        self, files: Sequence[StagedFile], *, commits: Sequence[CommitCopy] = ()
    ) -> AbstractContextManager[Path]:
        """A temporary directory holding exactly these files, byte for byte, modes kept; gone afterwards.

        `commits`: the staging writes these repositories next to the files.
        """
