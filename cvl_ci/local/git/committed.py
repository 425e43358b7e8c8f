"""The files that differ from the checked-out commit, from git: nothing of the repository runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cvl_ci.local.git.git import Git
from cvl_ci.model.plan import RunPlan

_SUBMODULE = "160000"


def changed_files(root: Path) -> Sequence[str]:
    """Return the tracked files that are not as the commit has them: content, mode, or staged for another commit.

    Raise CvlError, also where git is not installed.
    """
    words = ("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=all")
    return [entry[3:] for entry in _git(root, *words) if entry]


def untracked_files(root: Path, sources: Iterable[str]) -> Sequence[str]:
    """Return the files at or below these absolute paths that git does not track, ignored ones too. Raise CvlError.

    A path outside the repository is not one of a checkout, and counts for nothing here.
    """
    tracked: set[str] = set()
    submodules: list[str] = []
    for line in _git(root, "ls-files", "--stage", "-z"):
        described, _, path = line.partition("\t")
        tracked.add(path)
        submodules += [path] if described.startswith(_SUBMODULE) else []
    unknown: set[str] = set()
    top = Path(os.path.realpath(root))
    for source in dict.fromkeys(sources):
        target = Path(os.path.realpath(source))
        if not target.is_relative_to(top):
            continue
        name = target.relative_to(top).as_posix()
        if not target.is_dir():
            unknown |= {name} - tracked
            continue
        unknown |= {path_ for path_ in _git(root, "ls-files", "--others", "-z", "--", f":(literal){name}") if path_}
        unknown |= {path_ for path_ in submodules if name == "." or f"{path_}/".startswith(f"{name}/")}
    return sorted(unknown)


def is_tracked(root: Path, path: Path) -> bool:
    """Return whether git tracks this path, or a link or submodule on the way to it. Raise CvlError.

    A folder without git has no commit.
    """
    if not (root / ".git").exists():
        return False
    name = path.relative_to(os.path.realpath(root))
    on_the_way = {parent.as_posix() for parent in (name, *name.parents)}
    return not on_the_way.isdisjoint(_git(root, "ls-files", "-z", "--", f":(literal){name.parts[0]}"))


def is_committed(path: Path) -> bool:
    """Return whether a repository around this path tracks it, or a link or submodule on the way to it. Raise CvlError.

    A repository inside another one, such as a submodule, counts as well as the outer one.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  a link on the way is what git may track
    roots = [folder for folder in absolute.parents if (folder / ".git").exists()]
    return any(is_tracked(root, Path(os.path.realpath(root)) / absolute.relative_to(root)) for root in roots)


def tracked_files(folder: Path, paths: Iterable[str]) -> frozenset[Path]:
    """Return the real paths of files at or below these paths that the repository around `folder` tracks.

    A checkout of another branch in a folder of its own is another repository. Raise CvlError.
    """
    top = Path(os.path.realpath(folder))
    root = next((one for one in (top, *top.parents) if (one / ".git").exists()), None)
    targets = [Path(os.path.realpath(folder / path)) for path in paths]
    if root is None or not (names := [one.relative_to(root) for one in targets if one.is_relative_to(root)]):
        return frozenset()
    tracked = _git(root, "ls-files", "-z", "--", *(f":(literal){name.as_posix()}" for name in names))
    return frozenset(root / name for name in tracked if name)


def sources_of(plan: RunPlan) -> Iterator[str]:
    """Yield the absolute paths here from which a plan sends files: staged files, and mounts of a user's task."""
    yield from (file.source for file in plan.files.staged if isinstance(file.source, str))
    mounts = plan.work.task_extra.get("file_mounts")
    yield from _paths_in(mounts.values() if isinstance(mounts, Mapping) else ())


def _paths_in(mounts: Iterable[object]) -> Iterator[str]:
    for mount in mounts:
        if isinstance(mount, Mapping):
            yield from _paths_in([mount.get("source")])
        elif isinstance(mount, list):
            yield from _paths_in(mount)
        elif isinstance(mount, str) and mount.startswith("/"):
            yield mount


def _git(root: Path, *words: str) -> list[str]:
    git = Git.at(root, need="only git knows what the commit holds")
    return os.fsdecode(git.read_files(*words)).split("\0")
