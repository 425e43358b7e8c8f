"""The runner's own rules for a step's output, as its source has them: what we print is judged by this, not by us."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

KNOWN = {
    "add-mask",
    "add-path",
    "add-matcher",
    "remove-matcher",
    "debug",
    "echo",
    "endgroup",
    "error",
    "group",
    "notice",
}
KNOWN |= {"save-state", "set-env", "set-output", "stop-commands", "warning", "internal-set-repo-path"}


@dataclass
class Runner:
    """Reads a step's output; `obeyed` is what took effect, `log` what a person reads, masked."""

    obeyed: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    stopped_by: str = ""

    def read(self, output: str) -> Runner:
        for line in re.split(r"\r\n|\n|\r", output):
            if not self._command(line):
                self.log.append(self._masked(line))
        return self

    def commands(self, *names: str) -> list[str]:
        return [data for name, _, data in self.obeyed if name in names]

    def _command(self, line: str) -> bool:
        known = KNOWN | ({self.stopped_by} if self.stopped_by else set())
        parsed = _second_form(line, known) or _first_form(line, known)
        if parsed is None:
            return False
        name, properties, data = parsed
        if self.stopped_by:
            if name.lower() != self.stopped_by.lower():
                return False
            self.stopped_by = ""
            return True
        if name.lower() == "stop-commands":
            assert data
            assert data.lower() not in KNOWN
            self.stopped_by = data
            return True
        if name.lower() == "add-mask":
            self.masks.append(data)
        self.obeyed.append((name.lower(), properties, data))
        return True

    def _masked(self, line: str) -> str:
        for mask in sorted(self.masks, key=len, reverse=True):
            line = line.replace(mask, "***")
        return line


def _second_form(line: str, known: set[str]) -> tuple[str, dict[str, str], str] | None:
    """`::name key=value,key=value::data`, at the start of a line after a Unicode trim."""
    line = line.lstrip()
    end = line.find("::", 2)
    if not line.startswith("::") or end < 0:
        return None
    name, _, pairs = line[2:end].partition(" ")
    if name.lower() not in {one.lower() for one in known}:
        return None
    return name, _properties(pairs.strip(), ",", ":,"), _unescaped(line[end + 2 :])


def _first_form(line: str, known: set[str]) -> tuple[str, dict[str, str], str] | None:
    """`##[name key=value;key=value]data`, anywhere in a line."""
    start = line.find("##[")
    end = line.find("]", start)
    if start < 0 or end < 0:
        return None
    name, _, pairs = line[start + 3 : end].partition(" ")
    if name.lower() not in {one.lower() for one in known}:
        return None
    return name, _properties(pairs, ";", ";]"), _unescaped(line[end + 1 :], also=";]")


def _properties(pairs: str, separator: str, escaped: str) -> dict[str, str]:
    results = [pair.lstrip("=").partition("=") for pair in pairs.split(separator)]
    return {name: _unescaped(value, also=escaped) for name, _, value in results if name and value}


def _unescaped(text: str, *, also: str = "") -> str:
    """The percent sign is the last."""
    for sign in f"\r\n{also}%":
        text = text.replace(f"%{ord(sign):02X}", sign)
    return text


def read_file(text: str) -> dict[str, str]:
    """GITHUB_OUTPUT and GITHUB_STATE: NAME=VALUE or heredocs, by line feeds alone; a malformed file fails the step."""
    values: dict[str, str] = {}
    lines = iter(text.removesuffix("\n").split("\n"))
    for line in lines:
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        assert max(equals, heredoc) >= 0, line
        if heredoc < 0 or 0 <= equals < heredoc:
            name, _, value = line.partition("=")
        else:
            name, _, delimiter = line.partition("<<")
            value = "\n".join(_until(delimiter, lines))
        assert name, line
        values[name] = value
    return values


def _until(delimiter: str, lines: Iterator[str]) -> Iterator[str]:
    assert delimiter
    for line in lines:
        if line == delimiter:
            return
        yield line
    raise AssertionError(f"no {delimiter}")
