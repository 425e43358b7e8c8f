"""Find the example that a user means: by path, by its end or by name, with any mix of `-`, `_` and case. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import folded, similar
from cvl_ci.planning.example import FILE_NAME

_OUTSIDE = "is outside the repository"


def find(words: str, directories: Sequence[str], *, root: str, name_of: Callable[[str], str | None]) -> str:
    """Return one of `directories`, or raise Wrong with the candidates.

    `name_of` is called only if a name is possible.
    """
    path = _inside(words, root)
    if path in directories:
        return path
    names = {} if "/" in path else {directory: name_of(directory) or "" for directory in directories}
    named = [directory for directory, name in names.items() if name == path]
    if len(named) == 1:
        return named[0]
    for same in (lambda word: word, folded):
        matching = [directory for directory in directories if _ends(same(directory), same(path))]
        matching += [directory for directory, name in names.items() if same(name) == same(path)]
        candidates = tuple(dict.fromkeys(matching))
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise Wrong(f"may be any of {len(candidates)} examples", near=candidates[:8])
    names = names or {directory: name_of(directory) or "" for directory in directories}
    raise Wrong(_unknown(directories), near=_similar(path, names))


def _inside(words: str, root: str) -> str:
    """Return a posix path relative to the root; an example.yaml stands for its directory."""
    path = words.strip().replace("\\", "/")
    if path.startswith("/"):
        path = posixpath.normpath(path)
        if path != root and not path.startswith(root.rstrip("/") + "/"):
            raise Wrong(_OUTSIDE)
        path = posixpath.relpath(path, root)
    path = posixpath.normpath(path)
    if path == ".." or path.startswith("../"):
        raise Wrong(_OUTSIDE)
    if posixpath.basename(path) == FILE_NAME:
        path = posixpath.dirname(path) or "."
    return path


def _ends(directory: str, path: str) -> bool:
    return directory == path or directory.endswith("/" + path)


def _unknown(directories: Sequence[str]) -> str:
    if not directories:
        return f"is not an example: this checkout has no {FILE_NAME}"
    return f"is not an example: none of the {len(directories)} here has that path or name"


def _similar(path: str, names: dict[str, str]) -> tuple[str, ...]:
    """Return similar examples, by name, by path or by the same number of last parts.

    A name gets names as its answer.
    """
    parts = path.count("/") + 1
    answers: dict[str, list[str]] = {}
    for directory, name in names.items():
        end = "/".join(directory.split("/")[-parts:])
        spellings = {directory: directory, end: directory, name: directory if parts > 1 else name}
        for spelling, answer in spellings.items():
            if spelling:
                answers.setdefault(folded(spelling), []).append(answer)
    spellings_near = similar(path, answers, at_most=5)
    return tuple(dict.fromkeys(answer for spelling in spellings_near for answer in answers[spelling]))[:3]
