"""Count what breaks the rules of prose and names in docs/contributing.md. Pure: text in, complaints out."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

MOST_WORDS = 20
"""Of one sentence: rule 6."""

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


def complaints(text: Iterable[str]) -> list[str]:
    """Return one line for each pattern that a sentence breaks, and one for its length."""
    found = []
    for sentence in text:
        found += [f"{name}: {sentence}" for name, pattern in PATTERNS.items() if pattern.search(sentence)]
        words = len(re.findall(r"[\w'’./$%-]+", sentence.replace("CODE", "")))
        if words > MOST_WORDS:
            found.append(f"{words} words (rule 6): {sentence}")
    return found


def docstrings(source: str) -> Iterator[str]:
    """Yield every docstring, attribute docstrings included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def comments(source: str) -> Iterator[str]:
    """Yield every comment that is prose."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#\s*(?:noqa|type:|fmt:|pragma|!)", token.string):
            yield token.string.lstrip("# ")


def broken_patterns(source: str) -> list[str]:
    """Return a line for each pattern that the docstrings and comments of a module break; length is not counted."""
    text = [sentence for prose in (*docstrings(source), *comments(source)) for sentence in split(prose)]
    return [f"{name}: {one}" for one in text for name, pattern in PATTERNS.items() if pattern.search(one)]


def dialect(source: str) -> list[str]:
    """Return every binding of a module whose name is a word of the dialect."""
    return [name for name in bindings(ast.parse(source)) if name.strip("_") in DIALECT]


def bindings(tree: ast.Module) -> Iterator[str]:
    """Yield each name that a module binds: functions, classes, arguments, variables, fields."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def modules(root: Path) -> Iterator[str]:
    """Yield the source of every Python file below a folder."""
    for path in sorted(root.rglob("*.py")):
        yield path.read_text(encoding="utf-8")
