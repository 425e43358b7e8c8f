"""Every exception class that SkyPilot's source defines, found without importing it."""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

BUILTIN = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
"""The fields that hold statements, or what holds them."""


def classes() -> dict[str, set[str]]:
    """Return each class by its name, with the modules that define it."""
    spec = find_spec("sky")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("sky")
    root = Path(spec.origin).parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SkyPilot's own source
        found = [
            (node.name, {_last(base) for base in node.bases}, path.relative_to(root).as_posix())
            for path in sorted(root.rglob("*.py"))
            for node in _classes_in(path.read_text(encoding="utf-8"))
        ]
    errors: dict[str, set[str]] = {}
    while True:
        known = BUILTIN | errors.keys()
        new = [(name, path) for name, bases, path in found if bases & known and path not in errors.get(name, set())]
        if not new:
            return errors
        for name, path in new:
            errors.setdefault(name, set()).add(path)


def _classes_in(text: str) -> Iterator[ast.ClassDef]:
    """Return each class, wherever it is defined. Expressions, which are most of a file, hold none."""
    waiting: list[ast.AST] = [ast.parse(text)] if "class" in text else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            yield node
        for name in _BLOCKS:
            waiting.extend(getattr(node, name, ()))


def _last(base: ast.expr) -> str:
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
