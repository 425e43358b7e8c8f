"""The rules of prose and names in docs/contributing.md hold, or come nearer: each count may only fall."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml

from cvl_ci.cli.main import main
from tests.support import pins, prose
from tests.support.doc_tables import PAGES, ROOT

PATTERNS_IN_CODE = 0
"""Patterns that docstrings and comments of cvl_ci/ break. Lower it with every text that you mend."""
DIALECT_IN_CODE = 6
"""Bindings of cvl_ci/ whose name is a word of the dialect. Lower it with every name that you mend."""
MOST_DIALECT_IN_SUPPORT = 40
"""Those of tests/support/, at most."""
MOST_DIALECT_IN_TESTS = 1790
"""Those of all tests, at most. It may be fifty too high, because names are mended in many places at once."""

TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts)


@functools.cache
def sources() -> Mapping[str, str]:
    """Return the source of each module by its path."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "cvl_ci").rglob("*.py"))
    }


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_breaks_no_rule(path: Path) -> None:
    assert prose.complaints(prose.sentences(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_table_breaks_no_pattern(path: Path) -> None:
    assert prose.broken_in(prose.cells(path.read_text(encoding="utf-8"))) == []


def test_the_changelog_breaks_no_rule() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.count("\n- ") > 0
    assert prose.complaints(prose.sentences(text)) == []


def test_a_cell_can_break_a_pattern() -> None:
    assert prose.broken_in(prose.cells("| a | b |\n|---|---|\n| x | It is no option. |\n"))


def test_docstrings_and_comments_come_nearer_to_the_rules() -> None:
    """A lower count than the limit fails too: then lower the limit, so that it cannot rise again."""
    lines = [line for source in sources().values() for line in prose.broken_patterns(source)]
    assert len(lines) == PATTERNS_IN_CODE, lines


def test_no_message_breaks_a_rule() -> None:
    broken = {name: complaints for name, source in sources().items() if (complaints := prose.broken_messages(source))}
    assert broken == {}


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        ('raise CvlError("The job is what is left.")', "rule 2"),
        ('problem = f"{name} is no {kind} of ours"', "rule 4"),
        ('say("The key is told " + name + " and to nobody")', "rule 5"),
        ("yield f\"It ends {'with nobody at its side' if one else ''}\"", "rule 5"),
        ('problem = "it goes without a queue"', "goes with"),
        (f'say(f"{{a}} {" ".join(["word"] * 20)}.")', "21 words (rule 6)"),
    ],
)
def test_a_message_can_break_each_rule(source: str, broken: str) -> None:
    assert any(broken in complaint for complaint in prose.broken_messages(source))


def test_docstrings_patterns_and_lists_of_words_are_not_messages() -> None:
    words = " ".join(["word"] * 30)
    source = f'"""The {words}."""\nA = re.compile("{words}")\nB = "{words}".split()\nC = "cd it && $HOME/{words}"\n'
    assert prose.broken_messages(source) == []


def test_names_come_nearer_to_the_rules() -> None:
    names = [name for source in sources().values() for name in prose.dialect(source)]
    assert len(names) == DIALECT_IN_CODE, f"{names}, of the words in DIALECT of tests/support/prose.py"


@pytest.mark.parametrize(
    ("folder", "most"), [("tests/support", MOST_DIALECT_IN_SUPPORT), ("tests", MOST_DIALECT_IN_TESTS)]
)
def test_names_of_tests_come_nearer_to_the_rules(folder: str, most: int) -> None:
    count = sum(len(prose.dialect(source)) for source in prose.modules(ROOT / folder))
    assert most - 50 <= count <= most, "a name of the dialect is new, or the limit can fall"


@pytest.mark.parametrize(
    ("sentence", "broken"),
    [
        ("It shows what is left.", "rule 2"),
        ("The reason is told in the log.", "rule 3"),
        ("This is no option.", "rule 4"),
        ("The lock is written anew.", "rule 5"),
        (" ".join(["word"] * 21) + ".", "rule 6"),
    ],
)
def test_each_rule_can_be_broken(sentence: str, broken: str) -> None:
    [complaint] = prose.complaints([sentence])
    assert broken in complaint


@pytest.mark.parametrize(
    "sentence", ["There is no option of that name.", "The run is no longer alive.", "The log lists the leftovers."]
)
def test_plain_sentences_break_none(sentence: str) -> None:
    assert prose.complaints([sentence]) == []


def test_a_code_span_is_one_word_and_a_block_none() -> None:
    text = "Call `cvl-ci run --a b --c d --e f` now. " + "\n\n```sh\nwhat is left\n```\n\n| what is | x |\n|---|---|\n"
    assert prose.complaints(prose.sentences(text)) == []


def test_names_of_the_dialect_are_counted_wherever_they_are_bound() -> None:
    source = "def said(told):\n    found = [kept for kept in told]\n    name = 1\n"
    assert prose.dialect(source) == ["said", "told", "found", "kept"]


MESSAGE = "the run has cost $2.00 and its machine is gone"


def test_no_test_pins_prose_outside_a_golden_file() -> None:
    pinned = [f"{path.relative_to(ROOT)}:{pin}" for path in TESTS for pin in pins.pinned(path.read_text("utf-8"))]
    assert pinned == [], "MESSAGES.check() of tests/golden reads a message from its file"


@pytest.mark.parametrize(
    "source",
    [
        "assert told == {text}",
        "assert code == 0 and {text} in told, told",
        "assert told.startswith(f{text})",
        "assert any(line.endswith({text}) for line in told)",
        "assert f(text={text}) == 0",
        "with pytest.raises(CvlError, match=r{text}): f()",
        "TEXT = {text}\ndef test():\n    assert TEXT in told",
        "def test():\n    text = f{text}\n    assert [text, ''] == told\n    assert any(text in one for one in told)",
        "TEXT = {text}\nwith pytest.raises(CvlError, match=TEXT): f()",
    ],
)
def test_a_test_can_pin_prose(source: str) -> None:
    assert [pin.endswith(MESSAGE) for pin in pins.pinned(source.format(text=repr(MESSAGE)))] == [True]
    assert pins.pinned(source.format(text=repr("its machine is gone"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "assert f() == 3, {text}",
        "f({text})\nassert told == 3",
        "def test():\n    text = {text}\n    put(text)\n    assert text in told",
        "def test():\n    text = {text}\n    assert put(text) == 3",
        "assert told == 'cvl-123456789-7e7a5eed-digits-sgd-train-g4dn.xlarge'",
    ],
)
def test_data_and_the_words_of_a_failure_are_no_pins(source: str) -> None:
    assert pins.pinned(source.format(text=repr(MESSAGE))) == []


def test_action_yml_breaks_no_rule() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    texts = [
        action["description"],
        *(one["description"] for one in (*action["inputs"].values(), *action["outputs"].values())),
    ]
    assert prose.complaints(sentence for text in texts for sentence in prose.split(text)) == []


@pytest.mark.parametrize(
    "verb",
    [
        "",
        "plan",
        "run",
        "down",
        "check",
        "reap",
        "matrix",
        "report",
        "history",
        "drill",
        "completion",
        "schema",
        "logs",
        "status",
    ],
)
def test_help_breaks_no_rule(verb: str) -> None:
    with pytest.raises(SystemExit), redirect_stdout(io.StringIO()) as result:
        main([*filter(None, [verb]), "--help"])
    joined = re.sub(r"\n {10,}", "  ", result.getvalue())
    texts = [" ".join(line.strip().split("  ")[1:]) or line.strip() for line in joined.splitlines()]
    assert prose.complaints(sentence for text in texts for sentence in prose.split(text)) == []
