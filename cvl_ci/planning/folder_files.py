"""Select the files of a folder that go to the machine, if a command or a task names the folder. Pure.

Every file of the folder goes, also a file that git ignores or does not track. These stay:
1. `.git`: the machine gets a repository of its own (local/git/commit_copy.py).
2. Virtual environments, byte code, and folders that say they are caches. The outputs of earlier runs.
3. The files that the folder's `.skyignore` or the input `exclude` names.
4. Files that may hold credentials, unless git tracks them.
The input `include` wins over 2, 3 and 4.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cvl_ci.inputs.patterns import Pattern, patterns

VIRTUAL_ENVIRONMENT = "a virtual environment"
REPOSITORY = "git's own; the machine gets the commit"
_MADE = {"__pycache__": "byte code", "cvl-outputs": "outputs of earlier runs"}
CACHE = "a cache"
_MARKS = {"pyvenv.cfg": VIRTUAL_ENVIRONMENT, "conda-meta": VIRTUAL_ENVIRONMENT, "CACHEDIR.TAG": CACHE}
"""A name in a folder that tells what the folder is: of venv and virtualenv (PEP 405), of conda, and of the caches of
pytest, mypy, ruff and cargo (bford.info/cachedir)."""
IGNORED, EXCLUDED = "named in .skyignore", "named by exclude"
EXPECTED_REASONS = frozenset({REPOSITORY, VIRTUAL_ENVIRONMENT, CACHE, IGNORED, EXCLUDED, *_MADE.values()})
"""Reasons that a person expects or gave: the plan tells them, and they are not warnings."""


class FolderRule:
    """The rule for one folder. Paths are relative to it, without `./`.

    `skyignore`: the text of its `.skyignore`. Its lines mean what SkyPilot takes them for: a line that begins with `/`
    holds from the folder, another one at any depth (sky/data/storage_utils.py of 0.14.1).
    """

    def __init__(self, *, include: Sequence[str] = (), exclude: Sequence[str] = (), skyignore: str = "") -> None:
        """Raise TooMany where braces stand for too many patterns."""
        lines = [line.strip() for line in skyignore.splitlines()]
        ignored = [line for line in lines if line and not line.startswith("#")]
        self._include = patterns(include, directory=".") if include else ()
        self._exclude = patterns(exclude, directory=".") if exclude else ()
        self._ignore = patterns([_at_any_depth(line) for line in ignored], directory=".") if ignored else ()

    @property
    def has_includes(self) -> bool:
        """Tell whether a folder that stays may hold a file that goes."""
        return bool(self._include)

    def includes(self, path: str) -> bool:
        """Tell whether the input `include` names this file."""
        return _matches(self._include, path)

    def reason(self, path: str) -> str | None:
        """Return why a file stays, or a folder with all below it, by what a person names; None: it goes."""
        if _matches(self._exclude, path):
            return EXCLUDED
        return IGNORED if _matches(self._ignore, path) else None

    def reason_for_folder(self, path: str, names: Collection[str]) -> str | None:
        """Return why a folder stays with all below it; None: its files decide. `names`: the names directly in it."""
        name = path.rpartition("/")[2]
        if name == ".git":
            return REPOSITORY
        if name in _MADE:
            return _MADE[name]
        mark = next((mark for mark in _MARKS if mark in names), None)
        if mark:
            return _MARKS[mark]
        takes_back = any(pattern.takes_out for pattern in (*self._exclude, *self._ignore))
        return None if takes_back else self.reason(path)


def _at_any_depth(line: str) -> str:
    return line if line.startswith(("/", "!")) else f"**/{line}"


def _matches(rules: Sequence[Pattern], path: str) -> bool:
    """Let each pattern add what it matches, or take it out again, in their order."""
    matches = False
    for pattern in rules:
        if matches == pattern.takes_out and pattern.matches(path.encode("utf-8", "surrogateescape")):
            matches = not pattern.takes_out
    return matches
