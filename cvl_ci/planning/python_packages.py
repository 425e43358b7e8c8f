"""Find the packages of a Python project, by its own files, or by its folders. Pure.

The files of these tools are read: setuptools, hatch, poetry, flit, uv, PDM and maturin. No code of the project runs. So
a `setup.py` only counts by its presence, and the folders decide.
"""

from __future__ import annotations

import configparser
import posixpath
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BUILD_FILES = ("pyproject.toml", "setup.cfg", "setup.py", "MANIFEST.in")
LARGEST_BYTES = 1 << 20
# setuptools' own list of folders that are not packages: setuptools/discovery.py, FlatLayoutPackageFinder.
NOT_PACKAGES = frozenset(
    (
        *("ci", "bin", "debian", "doc", "docs", "documentation", "manpages", "news", "newsfragments", "changelog"),
        *("test", "tests", "unit_test", "unit_tests", "example", "examples", "scripts", "tools", "util", "utils"),
        *("python", "build", "benchmark", "benchmarks", "exercise", "exercises", "htmlcov"),
    )
)


class Tree(Protocol):
    """The names in a checkout. Paths are posix and relative to its root, which is `.`."""

    def is_file(self, path: str) -> bool: ...

    def is_folder(self, path: str) -> bool: ...

    def children(self, folder: str) -> Collection[str]:
        """Return names of files and folders directly in it."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """One project.

    `paths`: its packages and modules. `documents`: files that its build needs. `linked`: folders of other projects that
    it takes by their path.
    """

    paths: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()


def is_project(folder: str, tree: Tree) -> bool:
    return any(tree.is_file(join(folder, name)) for name in BUILD_FILES[:3])


def declared(folder: str, tree: Tree, *, pyproject: bytes, setup_cfg: bytes) -> Project:
    """Return the project of this folder.

    If its files name no package, the folders decide: `src/`, else the packages at its top. A path that is not in the
    checkout does not count.
    """
    document = _toml(pyproject)
    named = [*_named(document), *_in_setup_cfg(_ini(setup_cfg))]
    candidates = [posixpath.normpath(join(folder, path)) for path in named]
    paths = [path for candidate in candidates for path in _present(candidate, tree)]
    if not paths:
        names = [join(folder, path) for name in _project_names(document) for path in _either(name)]
        paths = [*(path for path in names if tree.is_file(path) or tree.is_folder(path)), *by_layout(folder, tree)]
    linked = [posixpath.normpath(join(folder, path)) for path in _linked(document)]
    documents = [posixpath.normpath(join(folder, path)) for path in _documents(document)]
    return Project(
        paths=tuple(dict.fromkeys(paths)),
        documents=tuple(path for path in documents if tree.is_file(path)),
        linked=tuple(one for path in linked for one in _folders(path, tree)),
    )


def by_layout(folder: str, tree: Tree) -> Iterator[str]:
    """Yield the importable parts of this folder: its `src/`, the packages at its top, and the modules there."""
    if tree.is_folder(join(folder, "src")):
        yield join(folder, "src")
    for name in sorted(tree.children(folder)):
        path = join(folder, name)
        if tree.is_file(join(path, "__init__.py")) and name not in NOT_PACKAGES and not name.startswith("."):
            yield path


def join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


# ---- pyproject.toml --------------------------------------------------------------------------------------------------


def _named(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield paths, relative to the project."""
    tool = _mapping(document.get("tool"))
    yield from _setuptools(_mapping(tool.get("setuptools")))
    yield from _hatch(_mapping(_mapping(tool.get("hatch")).get("build")))
    yield from _poetry(tool)
    yield from _uv(document)
    for name in _texts(_mapping(_mapping(tool.get("flit")).get("module")).get("name")):
        yield from _either(name)
    pdm = _mapping(_mapping(tool.get("pdm")).get("build"))
    yield from _texts(pdm.get("includes"))
    yield from _texts(pdm.get("package-dir"))
    yield from _texts(_mapping(tool.get("maturin")).get("python-source"))


def _setuptools(table: Mapping[str, Any]) -> Iterator[str]:
    folders = {str(name): str(path) for name, path in _mapping(table.get("package-dir")).items()}
    packages = table.get("packages")
    for name in _texts(packages):
        yield _in_package_dir(name, folders)
    for folder in _texts(_mapping(_mapping(packages).get("find")).get("where")):
        yield from [folder] if folder not in ("", ".") else []
    for name in _texts(table.get("py-modules")):
        yield f"{_in_package_dir(name, folders)}.py"
    yield from (path for path in folders.values() if path not in ("", "."))


def _in_package_dir(name: str, folders: Mapping[str, str]) -> str:
    """Return a package's path like setuptools: by the longest of its parents that `package-dir` names."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        head = ".".join(parts[:count])
        if head in folders:
            return "/".join([folders[head], *parts[count:]])
    return "/".join([*([folders[""]] if folders.get("") else []), *parts])


def _hatch(build: Mapping[str, Any]) -> Iterator[str]:
    wheel = _mapping(_mapping(build.get("targets")).get("wheel"))
    for form in (build, wheel):
        for key in ("packages", "only-include", "include"):
            yield from _texts(form.get(key))
        yield from map(str, _mapping(form.get("force-include")))


def _poetry(tool: Mapping[str, Any]) -> Iterator[str]:
    packages = _mapping(tool.get("poetry")).get("packages")
    for one in packages if isinstance(packages, list) else []:
        form = _mapping(one)
        if isinstance(form.get("include"), str):
            yield f"{form.get('from') or '.'}/{form['include']}"


def _uv(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield paths of uv's own build backend, which looks in `src` unless another folder is set."""
    form = _mapping(_mapping(_mapping(document.get("tool")).get("uv")).get("build-backend"))
    root = form.get("module-root", "src")
    names = [*_texts(form.get("module-name"))] or [*_project_names(document)]
    for name in names if form else []:
        yield f"{root or '.'}/{name.replace('.', '/')}"


def _project_names(document: Mapping[str, Any]) -> Iterator[str]:
    for form in (_mapping(document.get("project")), _mapping(_mapping(document.get("tool")).get("poetry"))):
        for name in _texts(form.get("name")):
            yield re.sub(r"[-.]+", "_", name)


def _either(name: str) -> list[str]:
    path = name.replace(".", "/")
    return [f"src/{path}", path, f"src/{path}.py", f"{path}.py"]


def _documents(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files of the project's description: a build fails without them."""
    project = _mapping(document.get("project"))
    for form in (project.get("readme"), project.get("license")):
        yield from _texts(form.get("file") if isinstance(form, dict) else form)
    yield from _texts(project.get("license-files"))
    yield from _texts(_mapping(_mapping(document.get("tool")).get("poetry")).get("readme"))


def _linked(document: Mapping[str, Any]) -> Iterator[str]:
    tool = _mapping(document.get("tool"))
    uv, poetry = _mapping(tool.get("uv")), _mapping(tool.get("poetry"))
    yield from _texts(_mapping(uv.get("workspace")).get("members"))
    groups = [_mapping(group).get("dependencies") for group in _mapping(poetry.get("group")).values()]
    for form in (uv.get("sources"), poetry.get("dependencies"), *groups):
        for one in _mapping(form).values():
            yield from _texts(_mapping(one).get("path"))


# ---- setup.cfg -------------------------------------------------------------------------------------------------------


def _in_setup_cfg(parser: configparser.ConfigParser) -> Iterator[str]:
    if not parser.has_section("options"):
        return
    folders = dict(
        _pair(line) for line in parser.get("options", "package_dir", fallback="").splitlines() if "=" in line
    )
    packages = parser.get("options", "packages", fallback="")
    if not packages.strip().startswith("find"):
        yield from (_in_package_dir(name, folders) for name in re.split(r"[\s,]+", packages) if name)
    modules = re.split(r"[\s,]+", parser.get("options", "py_modules", fallback=""))
    yield from (f"{_in_package_dir(name, folders)}.py" for name in modules if name)
    folder = parser.get("options.packages.find", "where", fallback="").strip()
    yield from (path for path in (folder, *folders.values()) if path not in ("", "."))


def _pair(line: str) -> tuple[str, str]:
    name, _, path = line.partition("=")
    return name.strip(), path.strip()


# ---- reading ---------------------------------------------------------------------------------------------------------


def _present(candidate: str, tree: Tree) -> Iterator[str]:
    """Yield the path itself, or the result of a pattern such as `src/*`, one level below a folder."""
    if tree.is_file(candidate) or (tree.is_folder(candidate) and candidate != "."):
        yield candidate
    elif "*" in candidate:
        head = candidate.partition("*")[0].rpartition("/")[0]
        if head and tree.is_folder(head):
            yield head


def _folders(path: str, tree: Tree) -> Iterator[str]:
    yield from (one for one in _present(path, tree) if tree.is_folder(one))


def _toml(content: bytes) -> Mapping[str, Any]:
    """Return an empty mapping if the file cannot be read: the folders then decide."""
    try:
        document: Mapping[str, Any] = tomllib.loads(content.decode("utf-8", "replace"))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return {}
    return document


def _ini(content: bytes) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(content.decode("utf-8", "replace"))
    except configparser.Error:
        return configparser.ConfigParser(interpolation=None)
    return parser


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [one for one in value if isinstance(one, str) and one] if isinstance(value, list) else []
