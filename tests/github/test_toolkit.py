"""What we write to the runner is what GitHub's own client writes, whatever is in the text."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from cvl_ci.github.log.workflow_commands import Commands
from tests.github.runner import Runner, read_file
from tests.peers import node

PIECES = (
    *"%:,;=[]{}\"'\\ \t\r\n",
    *("\r\n", "%25", "%0A", "%3A", "::", "##[", "<<", "EOF", "ghadelimiter_", "::add-mask::x", "name="),
    *("\x00", "\x1b[0m"),
    *("ü", "日本", "🚀", "\u00a0", "\u2028", "\u0085", "\ufeff", "\u202e", "a", "b c", "0"),
)
KINDS = ("notice", "warning", "error", "group", "mask", "output", "state")
CASES = 2_000


def cases(seed: int) -> list[dict[str, str]]:
    dice = random.Random(seed)

    def text() -> str:
        return "".join(dice.choice(PIECES) for _ in range(dice.randint(0, 12)))

    return [{"kind": dice.choice(KINDS), "text": text(), "title": text(), "file": text()} for _ in range(CASES)]


def ours(case: dict[str, str], folder: Path) -> str:
    content: list[str] = []
    file = folder / "file"
    file.write_text("")
    commands = Commands(content.append, files={"GITHUB_OUTPUT": str(file), "GITHUB_STATE": str(file)})
    match case["kind"]:
        case "group":
            commands.group(case["text"])
        case "mask":
            commands.mask(case["text"])
        case "output":
            commands.output("name", case["text"])
        case "state":
            commands.state("name", case["text"])
        case kind:
            commands.annotate(kind, case["text"], title=case["title"], file=case["file"])
    return "".join(content) + file.read_bytes().decode()


def alike(text: str) -> str:
    """The delimiter is random, on both sides."""
    return re.sub(r"ghadelimiter_[0-9a-f-]{36}", "DELIMITER", text)


@pytest.mark.peers
def test_commands_and_files_are_those_of_the_official_client(tmp_path: Path, official: None) -> None:
    # A mask is given line by line, which the runner does itself: the same where there is one line, and not a blank one.
    generated = [one for one in cases(7) if one["kind"] != "mask" or one["text"].splitlines() == [one["text"]]]
    generated = [one for one in generated if one["kind"] != "mask" or one["text"].strip()]
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(generated))
    lines = node.run("core.mjs", file, environ={})["said"]
    assert isinstance(lines, list)
    assert len(lines) == len(generated) > CASES * 0.9
    for case, theirs in zip(generated, lines, strict=True):
        assert alike(ours(case, tmp_path)) == alike(theirs), case


def test_the_runner_reads_back_what_was_meant(tmp_path: Path) -> None:
    for case in cases(8):
        content = ours(case, tmp_path)
        if case["kind"] in {"output", "state"}:
            assert read_file(content) == {"name": case["text"]}
        elif case["kind"] != "mask":
            [(name, properties, data)] = Runner().read(content).obeyed
            assert (name, data) == (case["kind"], case["text"])
            # The runner trims what stands between name and data, and so the end of the last property.
            for key in ("title", "file"):
                assert properties.get(key, "").rstrip() == ("" if name == "group" else case[key].rstrip())
