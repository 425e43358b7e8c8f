"""Hold checkpoints still while they are stored: hard links to their files, so that the job's next save changes nothing.

A program for the machine's own Python. A trainer replaces its last checkpoint by a rename, or removes an old one, at
any moment. A hard link still has the old bytes. A file that the job changes in place shows it by size and time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from . import scan

Rules = Sequence[tuple[str, "re.Pattern[bytes]"]]
"""The user's globs in their order: `+` or `-`, and the expression for a path."""


class Unit(NamedTuple):
    """A checkpoint on this disk: one file, or a folder. `base`: the short name of the folder that it lies in.

    `states`: its files, by their path below that folder.
    """

    base: str
    folder: str
    path: str
    states: Mapping[str, scan.FileState]

    @property
    def name(self) -> str:
        return f"{self.base}/{self.path}"

    @property
    def newest_ns(self) -> int:
        return max(state.mtime_ns for state in self.states.values())


def rules(pairs: Sequence[Sequence[str]]) -> Rules:
    """Return the rules of the request, each `[sign, expression]`."""
    return [(sign, re.compile(expression.encode(), re.DOTALL)) for sign, expression in pairs]


def is_chosen(path: str, by: Rules) -> bool:
    """Return whether the last rule that matches takes the path."""
    signs = [sign for sign, expression in by if expression.fullmatch(os.fsencode(path))]
    return bool(signs) and signs[-1] == "+"


def units(bases: Mapping[str, str], by: Rules) -> list[Unit]:
    """Return the checkpoints on this disk: the topmost files and folders that the rules take."""
    everything = []
    for base, folder in bases.items():
        states = scan.file_states(folder)
        roots = {root for path in states if (root := _root(path, by))}
        everything += [
            Unit(base, folder, root, {path: states[path] for path in paths})
            for root, paths in scan.grouped(list(states), sorted(roots)).items()
            if not scan.is_passing(root)
        ]
    return everything


def _root(path: str, by: Rules) -> str:
    parts = path.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((one for one in above if is_chosen(one, by)), "")


class HeldCheckpoint:
    """A checkpoint held still below `folder`, under its own name."""

    def __init__(self, unit: Unit, folder: str) -> None:
        self.unit, self.folder = unit, folder
        self._copied: set[str] = set()
        try:
            for path in unit.states:
                self._hold(path)
        except OSError:
            self.drop()
            raise

    @property
    def paths(self) -> list[str]:
        """Return its files, below `folder`."""
        return [f"{self.unit.base}/{path}" for path in sorted(self.unit.states)]

    def is_same(self) -> bool:
        """Return whether no file has changed since the look."""
        return all(self._state(path) == state for path, state in self.unit.states.items())

    def is_complete(self) -> bool:
        """Return whether all files are at rest and whole, and a folder has the files that it had at the look."""
        unit = self.unit
        if not self.is_same():
            return False
        inner = os.path.join(unit.folder, unit.path)
        if os.path.isdir(inner):
            now = {f"{unit.path}/{path}": state for path, state in scan.file_states(inner).items()}
            if now != unit.states:
                return False
        elif list(unit.states) != [unit.path]:
            return False  # a folder that is gone may have gone before it was whole
        return scan.is_whole(self.folder, unit.name, self.paths)

    def drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _hold(self, path: str) -> None:
        source, target = os.path.join(self.unit.folder, path), self._place(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:  # another disk, or a file of root, which Linux lets root alone link
            _copy(source, target)
            self._copied.add(path)

    def _place(self, path: str) -> str:
        return os.path.join(self.folder, self.unit.base, path)

    def _state(self, path: str) -> scan.FileState | None:
        """Return the state of a link, or of the file itself where there is a copy of it."""
        source = os.path.join(self.unit.folder, path) if path in self._copied else self._place(path)
        try:
            status = os.lstat(source)
        except OSError:
            return None
        return scan.FileState(status.st_size, status.st_mtime_ns, status.st_ino)


def _copy(source: str, target: str) -> None:
    """Copy a file that no link can hold. A container's root may be the only reader of its files."""
    try:
        shutil.copyfile(source, target, follow_symlinks=False)
    except PermissionError:
        owner = f"--owner={os.getuid()}"
        words = ["sudo", "-n", "install", owner, "--mode=600", "--", source, target]
        result = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if result.returncode != 0:
            raise
