"""The glossary of docs/contributing.md is short and in order, and the code uses each of its words."""

from __future__ import annotations

import re

import pytest

from tests.support.doc_tables import ROOT

MOST = 62
"""Its words: a reader learns no more. A word with its usual meaning needs no line."""


def glossary() -> list[str]:
    table = (ROOT / "docs/contributing.md").read_text(encoding="utf-8").split("\n| word | meaning |\n", 1)[1]
    return [row.split("|")[1].strip() for row in table.split("\n\n", 1)[0].splitlines()[1:]]


def parts(source: str) -> str:
    """Return the words of names and prose, in lower case between spaces: `RunReporter` is two."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z]+", " ", source)
    return f" {split.lower()} "


def is_used(word: str, text: str) -> bool:
    return any(f" {form} " in text for form in (word, f"{word}s"))


@pytest.fixture(scope="module")
def code() -> str:
    return parts("\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "cvl_ci").rglob("*.py"))))


def test_the_glossary_has_each_word_once_in_its_order() -> None:
    words = [word.lower() for word in glossary()]
    assert words == sorted(set(words))


def test_the_glossary_is_short() -> None:
    assert len(glossary()) <= MOST


@pytest.mark.parametrize("word", glossary())
def test_the_code_uses_a_word_of_the_glossary(word: str, code: str) -> None:
    assert is_used(word, code)


@pytest.mark.parametrize(
    ("word", "source", "expected"),
    [
        ("run reporter", "class RunReporter: ...", True),
        ("run reporter", "run_reporter = 1", True),
        ("leg", "legs = ()", True),
        ("leg", "legacy = 1", False),
        ("warm machine", "# A machine is warm.", False),
    ],
    ids=["class", "variable", "plural", "part of a word", "other order"],
)
def test_a_word_is_found_in_names_and_prose(word: str, source: str, expected: bool) -> None:
    assert is_used(word, parts(source)) is expected
