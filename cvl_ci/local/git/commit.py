"""A repository as one of its commits has it, read from git's own store. The working tree stays unchanged.

Git runs no filter for that, so a file of Git LFS is its pointer.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.local.folder_walk import below
from cvl_ci.local.git.git import Git
from cvl_ci.model.staged_files import Blob
from cvl_ci.planning.example import FILE_NAME
from cvl_ci.planning.folder_files import FolderRule
from cvl_ci.ports import Checkout, CheckoutFile, FolderFiles, Paths

_LINK, _SUBMODULE, _EXECUTABLE = "120000", "160000", "100755"
_MOST_LINKS = 8
"""The most links from link to link; more is a circle."""
_LONGEST_LINK = 4096
"""Bytes: PATH_MAX of Linux."""


@dataclass(frozen=True, kw_only=True)
class _TreeEntry:
    mode: str
    id: str
    bytes: int


class CommitCheckout:
    """The files of one commit. `commit`: its full name. `working_folder`: the directory of typed paths."""

    def __init__(self, git: Git, *, working_folder: Path, commit: str) -> None:
        self._root, self._working_folder, self._git, self._commit = git.root, working_folder, git, commit

    @property
    def root(self) -> Path:
        return self._root

    @property
    def head(self) -> str:
        return self._commit

    def examples(self) -> Sequence[str]:
        return sorted(posixpath.dirname(path) or "." for path in self._tree if posixpath.basename(path) == FILE_NAME)

    def paths(self) -> Paths:
        return Paths(path for path, tree_entry in self._tree.items() if tree_entry.mode != _SUBMODULE)

    def files(self, *prefixes: str) -> Sequence[CheckoutFile]:
        entries = (entry for path in self._below(prefixes) for entry in self._entries(path))
        return sorted({entry.path: entry for entry in entries}.values(), key=lambda entry: entry.path)

    def left_behind(self, *prefixes: str) -> Mapping[str, str]:
        reasons = {}
        for path in self._below(prefixes):
            if self._tree[path].mode == _SUBMODULE:
                reasons[path] = "a submodule"
            elif self._tree[path].mode == _LINK and not any(self._entries(path)):
                reasons[path] = "a link to nothing in that commit"
        return reasons

    def folder(self, path: str, rule: FolderRule) -> FolderFiles:
        files = self.files(path)
        reasons = {}
        for entry in files:
            if rule.reason(below(entry.path, path)) and not rule.includes(below(entry.path, path)):
                reasons[entry.path] = rule.reason(below(entry.path, path)) or ""
        entries = [entry for entry in files if entry.path not in reasons]
        return FolderFiles(entries=entries, reasons=reasons, tracked={entry.path for entry in entries})

    def locate(self, text: str) -> str | None:
        path = Path(os.path.normpath(self._working_folder / text))
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else None

    def read(self, path: str, *, limit: int) -> bytes:
        tree_entry = self._tree.get(self._followed(path) or path)
        if tree_entry is None or tree_entry.mode in {_LINK, _SUBMODULE}:
            raise FileNotFoundError(2, f"is not there in {self._commit[:12]}", path)
        return self._git.blob(tree_entry.id, limit=limit)

    def at(self, ref: str) -> Checkout:
        raise Wrong("cannot be resolved from another commit")

    @cached_property
    def _tree(self) -> Mapping[str, _TreeEntry]:
        entries = {}
        for line in self._git.read("ls-tree", "-r", "-l", "-z", "--full-tree", self._commit).split(b"\0"):
            described, _, path = line.partition(b"\t")
            if path:
                mode, _, name, size = described.decode().split()
                entries[os.fsdecode(path)] = _TreeEntry(mode=mode, id=name, bytes=0 if size == "-" else int(size))
        return entries

    def _below(self, prefixes: Sequence[str]) -> Iterator[str]:
        for prefix in prefixes:
            yield from (path for path in self._tree if prefix in (".", path) or path.startswith(f"{prefix}/"))

    def _entries(self, path: str) -> Iterator[CheckoutFile]:
        """Yield the file, or the target of a link: a file, or everything below a folder except its links."""
        target = self._followed(path)
        if target is None or (target != path and path.startswith(f"{target}/")):
            return
        for inner in self._below([target]):
            tree_entry = self._tree[inner]
            if tree_entry.mode not in {_LINK, _SUBMODULE}:
                blob = Blob(root=str(self._root), id=tree_entry.id, executable=tree_entry.mode == _EXECUTABLE)
                yield CheckoutFile(path=path + inner.removeprefix(target), bytes=tree_entry.bytes, source=blob)

    def _followed(self, path: str) -> str | None:
        """Return the final target of a link. None: it leads out of the tree, or nowhere."""
        for _ in range(_MOST_LINKS):
            tree_entry = self._tree.get(path)
            if tree_entry is None or tree_entry.mode != _LINK:
                return path
            target = os.fsdecode(self._git.blob(tree_entry.id, limit=_LONGEST_LINK))
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            if path.startswith(("/", "..")) or path == ".":
                return None
        return None
