"""Find the file that a plain command begins with, such as `python train.py --epochs 3`. Pure.

A machine has only the files that go to it. So a command that runs another one fails there, after the machine is paid.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass

_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_SHELLS = ("bash", "sh")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_FLAGS = re.compile(r"-[bBdEIOPqsSuvx]+")
"""Options of Python without a value. Others, such as `-m` and `-c`, run no file."""
_SHELL_FLAGS = re.compile(r"-[efuvx]+")
_FIRST = re.compile(r"&&|\n")
"""The end of the first command, whose failure ends the whole text."""
_NOT_PLAIN = re.compile(r"[;|&<>$`(){}\[\]*?~\\!#]")
"""Signs that give a shell more to do than to run one program with plain words."""


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A file in the folder of the command. `is_certain`: nothing but that file can run under this name."""

    path: str
    is_certain: bool


def named_file(command: str) -> NamedFile | None:
    """Return the file that the first words of a command run; None where they run none, or where that is not clear."""
    first = _FIRST.split(command.strip(), maxsplit=1)[0].strip()
    if _NOT_PLAIN.search(first):
        return None
    try:
        words = shlex.split(first)
    except ValueError:
        return None
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if not words:
        return None
    program, arguments = words[0], words[1:]
    if program.startswith(("./", "../")):
        return _below(program, is_certain=True)
    flags = _FLAGS if _PYTHON.fullmatch(program) else _SHELL_FLAGS if program in _SHELLS else None
    if flags is None:
        return None
    while arguments and flags.fullmatch(arguments[0]):
        arguments = arguments[1:]
    if not arguments or arguments[0].startswith("-"):
        return None
    # A shell looks for a bare name in PATH too. Python never does.
    return _below(arguments[0], is_certain=flags is _FLAGS or "/" in arguments[0])


def has_file(path: str, files: Collection[str]) -> bool:
    """Return whether the files of a machine have this path. A folder counts: Python runs its `__main__.py`."""
    return path in files or any(name.startswith(f"{path}/") for name in files)


def _below(word: str, *, is_certain: bool) -> NamedFile | None:
    """Return the file if it lies below the folder of the command. Others may be there without cvl-ci."""
    path = posixpath.normpath(word)
    if not word or path.startswith(("/", "..")) or path == ".":
        return None
    return NamedFile(path=path, is_certain=is_certain)
