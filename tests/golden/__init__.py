"""What a person reads, to the letter. After a wanted change: `GOLDEN=write pytest`, then read the diff."""

from __future__ import annotations

import ast
import difflib
import fcntl
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = "tests/golden/messages"
"""One file for each module of tests that reads messages."""

CHECK = "MESSAGES.check"
"""How a module of tests calls its messages."""
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")


def check(name: str, text: str) -> None:
    path = HERE / name
    if _writes():
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} reads differently now"


class Messages:
    """The messages that the tests of one module read: a file of them, each with a name.

    A name is a literal, so that `names` sees without a run which messages no test reads.
    """

    def __init__(self, module: str, *, root: Path = ROOT) -> None:
        self.path = file_of(module, root=root)
        self._source = root / f"{module.replace('.', '/')}.py"
        self._written: dict[str, str] = {}

    def check(self, name: str, text: str | Iterable[str]) -> None:
        """Compare a message, or its lines, with the file. A path, a time or an id that changes must not be in it."""
        text = text if isinstance(text, str) else "\n".join(text)
        assert text.strip(), f"{name}: there is no message"
        if _writes():
            self._write(name, text)
            return
        expected = read(self.path).get(name)
        assert expected is not None, f"{self.path.name} has no {name!r}: write it by GOLDEN=write, and read it"
        assert text == expected, f"{self.path.name}: {name!r} reads differently now\n{_difference(expected, text)}"

    def _write(self, name: str, text: str) -> None:
        """Replace one message and drop those that no test reads. Tests of a module may run in several processes."""
        before = self._written.setdefault(name, text)
        assert before == text, f"{name!r} has two texts\n{_difference(before, text)}"
        used = names(self._source.read_text(encoding="utf-8"))
        self.path.parent.mkdir(exist_ok=True, parents=True)
        with self.path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            messages = {**(yaml.safe_load(file) or {}), name: text}
            file.seek(0)
            file.truncate()
            file.write(_as_yaml({key: messages[key] for key in used if key in messages}))


def file_of(module: str, *, root: Path = ROOT) -> Path:
    """Return the file of messages of `tests.commands.test_run`: commands_run.yaml."""
    *packages, last = module.split(".")[1:]
    return root / FOLDER / ("_".join([*packages, last.removeprefix("test_")]) + ".yaml")


def names(source: str) -> list[str]:
    """Return the names of the messages that a module of tests reads, in the order of the source."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    matches = [(call.lineno, ast.literal_eval(call.args[0])) for call in calls if ast.unparse(call.func) == CHECK]
    return list(dict.fromkeys(name for _, name in sorted(matches)))


def read(path: Path) -> dict[str, str]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def line(text: str | Iterable[str], having: str) -> str:
    """Return the one line with these words, without the space around it."""
    return _only(text.splitlines() if isinstance(text, str) else text, having)


def sentence(text: str | Iterable[str], having: str) -> str:
    """Return the one sentence with these words: less of a line whose other words change from run to run."""
    text = text if isinstance(text, str) else "\n".join(text)
    return _only(SENTENCE_END.split(text), having)


def _only(parts: Iterable[str], having: str) -> str:
    parts = [part.strip() for part in parts]
    matches = dict.fromkeys(part for part in parts if having in part)
    assert len(matches) == 1, f"{len(matches)} have {having!r}, of:\n" + "\n".join(matches or parts)
    return next(iter(matches))


def _difference(expected: str, text: str) -> str:
    return "\n".join(difflib.ndiff(expected.split("\n"), text.split("\n")))


class _Text(str):
    """Is a block of lines in the file, as a person reads it."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|"))


def _as_yaml(messages: Mapping[str, str]) -> str:
    texts = {name: _Text(text) for name, text in messages.items()}
    return yaml.dump(texts, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=10**9)


def _writes() -> bool:
    return os.environ.get("GOLDEN") == "write"
