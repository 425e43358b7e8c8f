"""Count what breaks the rules of prose and names in docs/contributing.md. Pure: text in, complaints out."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.support import syntax

MOST_WORDS = 20
"""Of one sentence: rule 6."""
PLACEHOLDER = "X"
"""Of an f-string: one word, as a rule."""

PATTERNS = {
    "a clause as a noun (rule 2)": re.compile(
        r"\bwhat (?:is|was|are|were|has|had|may|can|comes?|goes)\b|\bone that\b|\bwho(?:ever)? is\b", re.IGNORECASE
    ),
    "no actor (rule 3)": re.compile(r"\b(?:is|are|was|were|be) (?:said|told|asked|called over|had)\b", re.IGNORECASE),
    "“is no” (rule 4)": re.compile(
        r"(?<!there )(?<!There )\b(?:is|are|was|were) no (?!longer|more)\b|\bneeds? it not\b"
    ),
    "an old word (rule 5)": re.compile(
        r"\b(?:anew|whatever|nobody|of ours|nought|beside|whoever|wherever|hitherto|thrown|thereof|be had|be rid of)\b",
        re.IGNORECASE,
    ),
}

PATTERNS_OF_MESSAGES = {
    **PATTERNS,
    "“goes with” for “needs” or “cannot be combined with”": re.compile(r"\b(?:goes?|going) with(?:out)?\b"),
}

DIALECT = frozenset(
    """
    answered anybody asked asking attempting away been began behind beside both called carried caught come coming
    counted deaf dealt done each ended every everybody fallen felt forsaken found furnish given going gone got had
    heard held here how judged kept knowing known launched left listed looked looks made maybe meant mended mine more
    nobody noted nothing ours others passed prey priced said seen several shown sought spoken spent standing still
    submitted surely surroundings taken taking told there theirs thrown tried typed understood untried wanted were
    whatever whence where whether who whole whose written
    """.split()  # noqa: SIM905 - a list of ninety literals is no easier to read
)
"""Identifiers that tell a reader nothing: bare participles, pronouns, adverbs."""


def sentences(markdown: str) -> Iterator[str]:
    """Yield the sentences of Markdown prose: no code, no tables, no headings, no HTML."""
    text = re.sub(r"^(```|~~~).*?^\1", "", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*>]|\d+\.) )", text):
        if block.lstrip().startswith(("|", "#", "<")):
            continue
        prose = re.sub(r"^\s*(?:[-*>]|\d+\.)\s+", "", block.strip())
        prose = re.sub(r"\n>\s*", " ", prose)
        yield from split(prose)


def split(prose: str) -> Iterator[str]:
    """Yield its sentences. A code span becomes `CODE`, which is no word, and a link its text."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", prose)
    text = re.sub(r"`[^`]*`", "CODE", text).replace("*", "")
    for sentence in re.split(r"(?<=[.!?:;])\s+(?=[^a-z\s]|cvl-ci)|\s·\s", text.replace("\n", " ")):
        if sentence.strip():
            yield sentence.strip()


def cells(markdown: str) -> Iterator[str]:
    """Yield the sentences that stand in tables."""
    for line in markdown.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            for cell in re.split(r"(?<!\\)\|", line)[1:-1]:
                yield from split(cell.strip())


def complaints(text: Iterable[str], *, patterns: Mapping[str, re.Pattern[str]] = PATTERNS) -> list[str]:
    """Return one line for each pattern that a sentence breaks, and one for its length."""
    results = []
    for sentence in text:
        results += [f"{name}: {sentence}" for name, pattern in patterns.items() if pattern.search(sentence)]
        words = len(re.findall(r"[\w'’./$%-]+", sentence.replace("CODE", "")))
        if words > MOST_WORDS:
            results.append(f"{words} words (rule 6): {sentence}")
    return results


def docstrings(source: str) -> Iterator[str]:
    """Yield every docstring, attribute docstrings included."""
    for node in syntax.statements(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def comments(source: str) -> Iterator[str]:
    """Yield every comment that is prose."""
    if "#" not in source:
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#\s*(?:noqa|type:|fmt:|pragma|!)", token.string):
            yield token.string.lstrip("# ")


def broken_patterns(source: str) -> list[str]:
    """Return a line for each pattern that the docstrings and comments of a module break; length is not counted."""
    return broken_in(sentence for prose in (*docstrings(source), *comments(source)) for sentence in split(prose))


def broken_in(text: Iterable[str]) -> list[str]:
    """Return a line for each pattern that a sentence breaks; length is not counted."""
    return [f"{name}: {one}" for one in text for name, pattern in PATTERNS.items() if pattern.search(one)]


def broken_messages(source: str) -> list[str]:
    """Return a line for each rule that a literal of a module breaks, if it reads as prose: a message to a person."""
    text = [one for line in literals(source) if _reads_as_prose(line) for one in split(line)]
    return complaints(text, patterns=PATTERNS_OF_MESSAGES)


def literals(source: str) -> Iterator[str]:
    """Yield the lines of all string literals but docstrings, regular expressions and lists of words to split.

    A placeholder of an f-string is one word, and literals that are added are one text.
    """
    yield from _literals(ast.parse(source))


def _literals(node: ast.AST) -> Iterator[str]:
    text = _text(node)
    if text is not None:
        yield from text.splitlines()
        for inside in _placeholders(node):
            yield from _literals(inside)
    elif not _has_no_message(node):
        for child in syntax.children(node):
            yield from _literals(child)


def _placeholders(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.JoinedStr):
        yield from (part.value for part in node.values if isinstance(part, ast.FormattedValue))
    elif isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield from [side] if _text(side) is None else _placeholders(side)


def _has_no_message(node: ast.AST) -> bool:
    """Return whether it is a docstring, a call of `re`, or a text that is only split into words."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if not isinstance(node, ast.Call):
        return False
    function = ast.unparse(node.func)
    is_split = isinstance(node.func, ast.Attribute) and node.func.attr == "split" and _text(node.func.value) is not None
    return is_split or function.startswith("re.") or function == "_words"


def _text(node: ast.AST) -> str | None:
    """Return the text of a literal, or of a sum with one; None for any other expression."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [_text(node.left), _text(node.right)]
        return None if sides == [None, None] else "".join(PLACEHOLDER if side is None else side for side in sides)
    return None


def _reads_as_prose(line: str) -> bool:
    """Three plain words in a row. A line of a shell has none, or has a variable."""
    return bool(re.search(r"\b[A-Za-z]+ [a-z]+ [a-z]+\b", line)) and "$" not in line


def dialect(source: str) -> list[str]:
    """Return every binding of a module whose name is a word of the dialect."""
    return [name for name in bindings(ast.parse(source)) if name.strip("_") in DIALECT]


def bindings(tree: ast.Module) -> Iterator[str]:
    """Yield each name that a module binds: functions, classes, arguments, variables, fields."""
    for node in syntax.nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def modules(root: Path) -> Iterator[str]:
    """Yield the source of every Python file below a folder, but not of installed packages."""
    for path in sorted(root.rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path.read_text(encoding="utf-8")
