"""Find the paths that an example's sources name: in commands, in `PYTHONPATH`, and by imports. Pure.

A text is read line by line and never run. A path counts only if the checkout holds it, so that a word that looks like a
path does no harm.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cvl_ci.planning.python_packages import Tree, join

_COMMANDS = (".sh", ".bash", ".mk", "/example.yaml")
"""Sources of commands. Of an example.yaml only its presets are read."""
_SETTINGS = (".yaml", ".yml", ".txt", ".toml", ".cfg")
"""Only paths with `..` count in these: other words in them may be prose."""
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_UP = re.compile(r"(?<![\w.])((?:\.\./)+[\w./@+-]*|\.\.(?![\w./]))")
"""`../../tools/train.py`, `../..`; also behind `$(dirname "$0")/`."""
_BELOW = re.compile(r"(?<![\w./$}@:-])((?:\./)?[\w@+-][\w.@+-]*(?:/[\w.@+-]+)+)/?")
"""`tools/train.py`."""
_VARIABLE = re.compile(r"\$\{?\w+\}?/([\w.@+-]+(?:/[\w.@+-]+)*)")
"""`$ROOT/tools/train.py`."""
_SEARCH = re.compile(r"PYTHONPATH\s*[=:]\s*[\"']?([^\s\"']+)")
_COPIED = re.compile(r"^[ \t]*(?:COPY|ADD)[ \t](.*)$", re.MULTILINE | re.IGNORECASE)
_INSTALLED = re.compile(r"\b(?:install|sync)\b")
_TOPLEVEL = "--show-toplevel"
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)[\w.]*[ \t]+import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)
_JOINED = re.compile(r"[\"'][ \t]*,[ \t]*[\"']")
_PARENTS = re.compile(r"\.parents\[(\d)\]((?:\s*/\s*[\"'][\w./-]+[\"'])*)")
_PARENT = re.compile(r"((?:\.parent){2,})\b((?:\s*/\s*[\"'][\w./-]+[\"'])*)")
_LITERAL = re.compile(r"[\"']([\w./-]+)[\"']")


@dataclass(frozen=True, kw_only=True)
class Mentions:
    """`paths`: files and folders of the checkout. `installs`: whether a line installs a project by its path."""

    paths: frozenset[str]
    installs: bool = False


def mentions(text: str, *, path: str, start: str, tree: Tree) -> Mentions:
    """Return the paths that one source names.

    `path`: the source's own. `start`: the folder in which a job begins, the example's.
    """
    text = _COMMENT.sub("", text)
    folders = tuple(dict.fromkeys((posixpath.dirname(path) or ".", start)))
    around = tuple(dict.fromkeys(place for folder in folders for place in enclosing(folder)))
    is_python = path.endswith(".py")
    paths = {*_upwards(_python_joined(text) if is_python else text, folders, tree)}
    if is_python:
        paths |= {*_imported(text, folders, around, tree)}
    elif path.endswith(_COMMANDS) or _is_recipe(path):
        paths |= {*_below(text, folders, around, tree)}
    if _TOPLEVEL in text:
        paths.add(".")
    return Mentions(paths=frozenset(paths), installs=any(map(_installs, text.splitlines())))


def enclosing(folder: str) -> list[str]:
    """Return the folders around this one, the nearest first, down to the root of the checkout."""
    parts = [] if folder == "." else folder.split("/")
    return ["/".join(parts[:count]) or "." for count in range(len(parts) - 1, -1, -1)]


def reads(path: str) -> bool:
    """Return whether a file of this name is a source that can name other files."""
    return path.endswith((".py", *_COMMANDS, *_SETTINGS)) or _is_recipe(path)


def _is_recipe(path: str) -> bool:
    return posixpath.basename(path).startswith(("Dockerfile", "Makefile"))


def _installs(line: str) -> bool:
    return bool(_INSTALLED.search(line)) and (".." in line or "-e " in line)


def _upwards(text: str, folders: tuple[str, ...], tree: Tree) -> Iterator[str]:
    for match in _UP.finditer(text):
        for folder in folders:
            path = posixpath.normpath(posixpath.join(folder, match[1]))
            if _is_there(path, tree):
                yield path


def _below(text: str, folders: tuple[str, ...], around: tuple[str, ...], tree: Tree) -> Iterator[str]:
    """Yield paths from words without `..`. A word that exists in the example itself names no other path."""
    words = [match[1] for pattern in (_BELOW, _VARIABLE) for match in pattern.finditer(text)]
    for match in _SEARCH.finditer(text):
        words += [re.sub(r"^\$\{?\w+\}?/", "", part) for part in match[1].split(":")]
    for match in _COPIED.finditer(text):
        words += [word for word in match[1].split()[:-1] if not word.startswith("-")]
    for word in dict.fromkeys(words):
        clean = posixpath.normpath(word)
        if clean in (".", "..") or clean.startswith(("/", "$")) or _anywhere(clean, folders, tree):
            continue
        yield from _anywhere(clean, around, tree)[:1]


def _imported(text: str, folders: tuple[str, ...], around: tuple[str, ...], tree: Tree) -> Iterator[str]:
    """Yield modules that lie next to the source, at the top of a folder around it, or in the `src` of one."""
    modules = {name for match in _IMPORT.finditer(text) for name in _modules(match)}
    places = [*folders, *(place for folder in around for place in (folder, join(folder, "src")))]
    for module in sorted(modules):
        for path in (join(place, module) for place in places):
            if tree.is_file(f"{path}.py"):
                yield f"{path}.py"
                break
            if any(name.endswith(".py") for name in tree.children(path)):
                yield path
                break


def _modules(match: re.Match[str]) -> list[str]:
    """Return the first names of `import a.b as c, d`, or the one of `from a.b import c`."""
    parts = [match[1]] if match[1] else [part for part in match[2].split(",") if part.strip()]
    return [part.split()[0].split(".")[0] for part in parts]


def _python_joined(text: str) -> str:
    """Rewrite `parents[1] / "src"` and `join(here, "..", "..")` as paths."""
    text = _JOINED.sub("/", text)
    text = _PARENTS.sub(lambda match: f' "{_raised(int(match[1]), match[2])}"', text)
    return _PARENT.sub(lambda match: f' "{_raised(match[1].count(".parent") - 1, match[2])}"', text)


def _raised(levels: int, rest: str) -> str:
    return "/".join([*([".."] * levels), *(match[1] for match in _LITERAL.finditer(rest))])


def _anywhere(path: str, folders: tuple[str, ...], tree: Tree) -> list[str]:
    candidates = (posixpath.normpath(join(folder, path)) for folder in folders)
    return [one for one in candidates if _is_there(one, tree)]


def _is_there(path: str, tree: Tree) -> bool:
    return path == "." or tree.is_file(path) or tree.is_folder(path)
