"""Find the prose that a test pins: a message that a person reads belongs into a golden file. Pure: source in, pins out.

A pin is a literal in an assert or in `match=`. So is a constant that asserts alone read: a second name is no golden
file. A constant that the test puts in too, and a literal that is given to the code outside an assert, is data.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

LONGEST = 40
"""Characters from which on a text is prose, if it has words and spaces for it."""
WORDS, SPACES = 5, 4
COMPARE = ("startswith", "endswith", "count", "any", "all", "sum")
"""Calls whose argument is expected, as the sides of a comparison are. The argument of another call is its input."""


def pinned(source: str) -> list[str]:
    """Return each pin of a module of tests, with its line."""
    tree = ast.parse(source)
    conditions = list(_conditions(tree))
    pins = [literal for one in conditions for literal in _prose(one)]
    compared = {id(node) for one in conditions for node in _expected(one)}
    pins += [literal for scope in _scopes(tree) for literal in _constants_of_asserts(scope, compared)]
    return [f"{line}: {text}" for line, text in sorted({(pin.lineno, str(pin.value)) for pin in pins})]


def is_prose(text: str) -> bool:
    words = re.findall(r"\b[a-z]{2,}\b", text)
    return len(text) >= LONGEST and len(words) >= WORDS and text.count(" ") >= SPACES


def _conditions(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node.test
        elif isinstance(node, ast.keyword) and node.arg == "match":
            yield node.value


def _prose(node: ast.AST) -> Iterator[ast.Constant]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and is_prose(each.value):
            yield each


def _expected(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what an assert compares with, and not the inputs of its calls."""
    yield node
    if isinstance(node, ast.Call):
        compares = ast.unparse(node.func).rpartition(".")[2] in COMPARE
        children: Iterable[ast.AST] = [node.func, *(node.args if compares else ())]
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _expected(child)


def _scopes(tree: ast.Module) -> Iterator[tuple[list[ast.AST], list[ast.AST]]]:
    """Yield the statements that bind names and the nodes that may read them: of the module, and of each function."""
    yield list(tree.body), list(ast.walk(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield [*ast.walk(node)], [*ast.walk(node)]


def _constants_of_asserts(scope: tuple[list[ast.AST], list[ast.AST]], compared: set[int]) -> Iterator[ast.Constant]:
    statements, nodes = scope
    for node in statements:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        name = node.targets[0].id
        reads = [one for one in nodes if isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Load)]
        is_text = not any(isinstance(one, (ast.Call, ast.Dict)) for one in ast.walk(node.value))
        if is_text and reads and all(id(one) in compared for one in reads):
            yield from _prose(node.value)
