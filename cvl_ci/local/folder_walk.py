"""All files below a folder. A file that stays behind comes with the reason. The walk follows no links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cvl_ci.errors import CvlError
from cvl_ci.planning.folder_files import REPOSITORY, FolderRule

MOST_FILES = 100_000


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file, or a folder that stays behind with everything below it. Paths are relative to the root.

    `path`: its path on the machine. `source`: its path here, which differs below a link to a folder.
    """

    path: str
    source: str
    reason: str | None = None
    is_folder: bool = False


def walk(root: Path, source: str, *, path: str, within: str, rule: FolderRule) -> Iterator[Item]:
    """Yield the files below `source`, with paths below `path`. `within`: the folder that the rule is for.

    Raise CvlError above 100,000 files.
    """
    count = 0
    pending: list[tuple[str, str, str | None]] = [(source, path, None)]
    while pending:
        at, target, inherited = pending.pop()
        try:
            names = sorted(os.scandir(root / at), key=lambda entry: entry.name)
        except OSError:
            yield Item(path=target, source=at, reason="it cannot be read", is_folder=True)
            continue
        if target != within:
            # Also below a folder that stays: an `include` that reaches into it brings no repository along.
            reason = rule.reason_for_folder(below(target, within), [entry.name for entry in names])
            inherited = REPOSITORY if reason == REPOSITORY else inherited or reason
            if inherited == REPOSITORY or (inherited and not rule.has_includes):
                yield Item(path=target, source=at, reason=inherited, is_folder=True)
                continue
        for entry in names:
            inner = Item(path=_join(target, entry.name), source=_join(at, entry.name))
            if entry.is_dir(follow_symlinks=False):
                pending.append((inner.source, inner.path, inherited))
                continue
            count += 1
            if count > MOST_FILES:
                problem = f"{root / source} has more than {MOST_FILES} files."
                raise CvlError(problem, next_step="Leave files out with exclude or .skyignore.")
            relative = below(inner.path, within)
            is_git_link = entry.name == ".git"  # a submodule's, or a worktree's
            reason = REPOSITORY if is_git_link else inherited or rule.reason(relative)
            if reason and not is_git_link and rule.includes(relative):
                reason = None
            yield Item(path=inner.path, source=inner.source, reason=reason)


def below(path: str, folder: str) -> str:
    """Return a path as it is below a folder that holds it."""
    return path if folder == "." else path.removeprefix(f"{folder}/")


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"
