"""Find the files of an example: the one rule for files to send and for files whose change counts. Pure.

1. All files below the example's own folder.
2. The files that the input `files` names, else those that `files:` in the example.yaml names: globs from the root of
   the repository. They replace rule 3.
3. Without such globs:
   a. of each Python project that the example lies in (a folder around it with a pyproject.toml, setup.cfg or setup.py):
      these files, and the packages that they declare; where they declare none, `src/` and the packages at its top;
   b. the names in the example's sources: paths that the checkout holds, `PYTHONPATH`, and modules that they import;
      a source that is named is read in turn;
   c. a folder around the example that they name: only the modules that Python can import from it;
   d. other examples whose folders their scripts name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cvl_ci.planning import python_packages
from cvl_ci.planning.mentions import enclosing, mentions, reads
from cvl_ci.planning.python_packages import BUILD_FILES, Project, Tree, join

Reader = Callable[[str], bytes]
"""The content of a file of the checkout; empty if it cannot be read."""
MOST_SOURCES = 500
"""The number of files outside the example that are searched for names."""


@dataclass(frozen=True, kw_only=True)
class ExamplePath:
    """A file or a folder with all below it. With a glob, only the matching files count."""

    path: str
    glob: str = ""

    def holds(self, path: str) -> bool:
        if self.glob:
            return matches(self.glob, path)
        return self.path in {".", path} or path.startswith(f"{self.path}/")


@dataclass(frozen=True, kw_only=True)
class ExampleSources:
    """The files of an example that name other files.

    `texts`: its sources, by their paths from the root. `globs` None: none are set. `unseen`: whether its scripts are
    missing in this checkout, so that their names are unknown.
    """

    directory: str
    texts: Mapping[str, str]
    globs: tuple[str, ...] | None = None
    examples: tuple[str, ...] = ()
    unseen: bool = False


def paths(subject: ExampleSources, *, tree: Tree, read: Reader) -> tuple[ExamplePath, ...]:
    """Return the paths whose files belong to the example, its own folder first."""
    own = ExamplePath(path=subject.directory)
    if subject.globs is not None:
        return (own, *(ExamplePath(path=_fixed_part(glob), glob=glob) for glob in map(_clean, subject.globs)))
    paths: dict[str, None] = {}
    named, installs = _paths_named(subject, tree=tree, read=read)
    around = enclosing(subject.directory)
    for folder in around:
        project = _project(folder, tree=tree, read=read) if python_packages.is_project(folder, tree) else None
        if project is not None:
            paths |= dict.fromkeys(join(folder, name) for name in BUILD_FILES if tree.is_file(join(folder, name)))
            paths |= dict.fromkeys([*project.paths, *project.linked, *(project.documents if installs else ())])
        if folder in named:
            paths |= dict.fromkeys(python_packages.by_layout(folder, tree))
    paths |= dict.fromkeys(sorted(named - {*around}))
    return (own, *(ExamplePath(path=path) for path in _outermost(paths, subject.directory)))


def matches(glob: str, path: str) -> bool:
    """Return whether a path matches.

    `*` stays within a folder, `**` does not, and a folder's name covers all below it.
    """
    names = path.split("/")
    reached = {0}
    for pattern in glob.split("/"):
        if pattern == "**":
            reached = {*range(min(reached), len(names) + 1)}
        elif pattern != ".":
            reached = {at + 1 for at in reached if at < len(names) and fnmatchcase(names[at], pattern)}
        if not reached:
            return False
    return True


def _paths_named(subject: ExampleSources, *, tree: Tree, read: Reader) -> tuple[set[str], bool]:
    """Return paths outside the example that its sources name, and whether one installs a project by its path."""
    outside_paths: set[str] = {"."} if subject.unseen else set()
    installs = False
    waiting = list(subject.texts.items())
    read_paths = {*subject.texts}
    while waiting:
        path, text = waiting.pop()
        one = mentions(text, path=path, start=subject.directory, tree=tree)
        installs = installs or one.installs
        outside = {other for other in one.paths if not _is_below(other, subject.directory)}
        outside_paths |= outside
        for other in sorted(outside - read_paths):
            if tree.is_file(other) and reads(other) and len(read_paths) < MOST_SOURCES:
                read_paths.add(other)
                waiting.append((other, read(other).decode("utf-8", "replace")))
    scripts = [text for path, text in subject.texts.items() if path.endswith((".sh", ".py"))]
    outside_paths |= {
        other
        for other in subject.examples
        if other not in (".", subject.directory) and "/" in other and any(other in text for text in scripts)
    }
    return outside_paths, installs


def _project(folder: str, *, tree: Tree, read: Reader) -> Project:
    pyproject, setup_cfg = (
        read(join(folder, name)) if tree.is_file(join(folder, name)) else b""
        for name in ("pyproject.toml", "setup.cfg")
    )
    return python_packages.declared(folder, tree, pyproject=pyproject, setup_cfg=setup_cfg)


def _outermost(paths: Iterable[str], directory: str) -> list[str]:
    """Return the outermost paths. A folder around the example would contain all of it, so it is skipped."""
    candidates = {path for path in paths if not _is_below(path, directory) and not _is_below(directory, path)}
    return sorted(path for path in candidates if not any(other in candidates for other in enclosing(path)))


def _is_below(path: str, folder: str) -> bool:
    return folder in {".", path} or path.startswith(f"{folder}/")


def _clean(glob: str) -> str:
    return posixpath.normpath(glob.strip())


def _fixed_part(glob: str) -> str:
    """Return the longest folder, or the file, that contains all matches."""
    names = glob.split("/")
    plain = next((at for at, name in enumerate(names) if set(name) & set("*?[")), len(names))
    return "/".join(names[:plain]) or "."
