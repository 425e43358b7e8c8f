"""Messages of tests live in golden files: each is read by a test, and a changed one fails it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import golden
from tests.golden import Messages

MODULE = "tests.cli.test_words"
MODULES = [path for path in (golden.ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts]
READERS = {
    golden.file_of(".".join(path.relative_to(golden.ROOT).with_suffix("").parts)): used
    for path in MODULES
    if (used := golden.names(path.read_text(encoding="utf-8")))
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    reads(tmp_path, "first", "second")
    return tmp_path


def reads(root: Path, *names: str) -> None:
    source = root / "tests/cli/test_words.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("".join(f"MESSAGES.check({name!r}, told)\n" for name in names))


def write(root: Path, monkeypatch: pytest.MonkeyPatch, **texts: str) -> None:
    messages = Messages(MODULE, root=root)
    with monkeypatch.context() as patch:
        patch.setenv("GOLDEN", "write")
        for name, text in texts.items():
            messages.check(name, text)


@pytest.mark.parametrize("path", sorted(READERS), ids=lambda path: path.stem)
def test_each_message_of_a_file_has_a_test_that_reads_it(path: Path) -> None:
    assert list(golden.read(path)) == READERS[path]


def test_each_file_has_a_module_of_its_own() -> None:
    assert set((golden.ROOT / golden.FOLDER).iterdir()) == set(READERS)


def test_a_module_checks_messages_by_its_own_file_alone() -> None:
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        if golden.names(source):
            assert "\nMESSAGES = golden.Messages(__name__)\n" in source, path


def test_a_message_is_the_same_or_the_difference_is_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "one\n  two │ ×\n\n"
    write(root, monkeypatch, first=text, second="a: b\x1b[2J")
    messages = Messages(MODULE, root=root)
    messages.check("first", text)
    messages.check("second", "a: b\x1b[2J")
    with pytest.raises(AssertionError, match=r"reads differently now\n- one\n\+ One"):
        messages.check("first", text.replace("o", "O", 1))


@pytest.mark.parametrize("text", ["", " \n", []])
@pytest.mark.parametrize("mode", ["", "write"])
def test_no_message_is_a_failure(root: Path, monkeypatch: pytest.MonkeyPatch, text: str | list[str], mode: str) -> None:
    monkeypatch.setenv("GOLDEN", mode)
    with pytest.raises(AssertionError, match="first: there is no message"):
        Messages(MODULE, root=root).check("first", text)


def test_a_message_without_a_golden_text_is_a_failure(root: Path) -> None:
    with pytest.raises(AssertionError, match="has no 'first'"):
        Messages(MODULE, root=root).check("first", ["told"])


def test_writing_drops_what_no_test_reads_and_keeps_the_order_of_the_tests(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, monkeypatch, second="b", first="a")
    assert list(golden.read(golden.file_of(MODULE, root=root))) == ["first", "second"]
    reads(root, "third", "first")
    write(root, monkeypatch, third="c")
    assert golden.read(golden.file_of(MODULE, root=root)) == {"third": "c", "first": "a"}


def test_one_name_for_two_texts_is_a_failure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = Messages(MODULE, root=root)
    monkeypatch.setenv("GOLDEN", "write")
    messages.check("first", "one")
    with pytest.raises(AssertionError, match="'first' has two texts"):
        messages.check("first", "two")


def test_two_processes_that_write_one_file_keep_all_messages(root: Path) -> None:
    names = [[f"{process} {at}" for at in range(40)] for process in range(2)]
    reads(root, *names[0], *names[1])
    program = (
        "import sys; from pathlib import Path; from tests.golden import Messages\n"
        f"messages = Messages({MODULE!r}, root=Path(sys.argv[1]))\n"
        "for name in sys.argv[2:]: messages.check(name, name * 50)"
    )
    environment = {"GOLDEN": "write", "PYTHONPATH": str(golden.ROOT)}
    writers = [subprocess.Popen([sys.executable, "-c", program, str(root), *some], env=environment) for some in names]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert golden.read(golden.file_of(MODULE, root=root)) == {name: name * 50 for some in names for name in some}


def test_a_line_and_a_sentence_are_found_by_a_word_and_are_one() -> None:
    text = "  [0:00] It is down. It cost $2.00.\nIt is gone.\nIt is gone.\n"
    assert golden.line(text, "down") == "[0:00] It is down. It cost $2.00."
    assert golden.sentence(text, "cost") == "It cost $2.00."
    assert golden.line(text.splitlines(), "gone") == golden.sentence(text, "gone") == "It is gone."
    for find in (golden.line, golden.sentence):
        with pytest.raises(AssertionError, match="0 have 'up'"):
            find(text, "up")
        with pytest.raises(AssertionError, match=r"[23] have 'It is'"):
            find(text, "It is")
