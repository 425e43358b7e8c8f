"""The checkout that a run starts from, and the copy of its files for a machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.staged_files import Blob, CommitCopy, StagedFile
from cvl_ci.planning.folder_files import FolderRule


@dataclass(frozen=True, kw_only=True)
class CheckoutFile:
    """One file of the checkout: POSIX path relative to its root, size in bytes.

    `source`: the absolute path of its content, such as the target of a link inside the root; or a commit's blob.
    """

    path: str
    bytes: int
    source: str | Blob


@dataclass(frozen=True, kw_only=True)
class FolderFiles:
    """The files of a folder. `entries`: those that go to a machine, with paths relative to the checkout's root.

    `reasons`: for each path that stays, the reason; a path that ends in `/` is a folder with everything below it.
    `tracked`: the paths among `entries` that git tracks.
    """

    entries: Sequence[CheckoutFile]
    reasons: Mapping[str, str]
    tracked: Collection[str] = ()


class Paths:
    """The names of all files in a checkout, and of their folders. POSIX, relative to the root, which is `.`."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = frozenset(files)
        children: dict[str, set[str]] = {".": set()}
        for path in self.files:
            inner = path
            while inner != ".":
                folder, _, name = inner.rpartition("/")
                names = children.setdefault(folder or ".", set())
                if name in names:
                    break
                names.add(name)
                inner = folder or "."
        self._children = children

    def is_file(self, path: str) -> bool:
        return path in self.files

    def is_folder(self, path: str) -> bool:
        return path in self._children

    def children(self, folder: str) -> Collection[str]:
        """Return the names of files and folders directly in a folder."""
        return self._children.get(folder, ())


class Checkout(Protocol):
    """The repository or plain folder with the examples. If git is present, only the files that it tracks."""

    @property
    def root(self) -> Path: ...

    @property
    def head(self) -> str:
        """Return the full id of the checked-out commit; empty without git."""

    def examples(self) -> Sequence[str]:
        """Return all directories with an example.yaml: POSIX, relative to the root, sorted."""

    def paths(self) -> Paths:
        """Return the names of all files: those that git tracks, and new ones that it does not ignore."""

    def files(self, *prefixes: str) -> Sequence[CheckoutFile]:
        """Return all files of the checkout that are these prefixes or lie below them."""

    def left_behind(self, *prefixes: str) -> Mapping[str, str]:
        """Return the paths that stay behind, with reasons: a link out of the root, a submodule, not tracked, ..."""

    def folder(self, path: str, rule: FolderRule) -> FolderFiles:
        """Return all files below a folder, tracked or not, except for those that the rule excludes."""

    def locate(self, text: str) -> str | None:
        """Return a typed path, absolute or from the current folder, relative to the root. None: it is outside."""

    def read(self, path: str, *, limit: int) -> bytes:
        """Return at most `limit` bytes of a file. Raises OSError."""

    def at(self, ref: str) -> Checkout:
        """Return the repository as it was where this checkout left `ref`. Raises Wrong without such a commit or git."""


class Staging(Protocol):
    def staged(
        self, files: Sequence[StagedFile], *, commits: Sequence[CommitCopy] = ()
    ) -> AbstractContextManager[Path]:
        """Yield a temporary directory with exactly these files, byte for byte, with their modes; then remove it.

        `commits`: repositories to write next to the files.
        """
