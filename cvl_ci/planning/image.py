"""Find the image that a build script makes: the name that a preset must run, often another than it looks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_BUILD = re.compile(r"\bdocker\s+(?:buildx\s+|image\s+)?build\b(?P<arguments>[^\n|;&]*)")
_TAG = re.compile(r"(?:^|\s)(?:-t|--tag)(?:\s+|=)(?P<tag>\"[^\"]*\"|'[^']*'|[^\s\"']+)")
_ASSIGNED = re.compile(
    r"^\s*(?:export\s+|readonly\s+|local\s+)*(?P<name>\w+)=(?P<value>\"[^\"]*\"|'[^']*'|\S*)", re.MULTILINE
)
_WITH_DEFAULT = re.compile(r"\$\{(\w+)(?::?[-=]([^{}]*))?\}|\$(\w+)")


def tagged(script: str, *, expected: str | None = None) -> str | None:
    """Return the tag of `docker build` in this script: the expected one, else the last one. None: it is not clear."""
    text = re.sub(r"\\\r?\n", " ", script)
    assigned = {match["name"]: _unquoted(match["value"]) for match in _ASSIGNED.finditer(text)}
    names = [
        name
        for build in _BUILD.finditer(text)
        for tag in _TAG.finditer(build["arguments"])
        if (name := _expanded(_unquoted(tag["tag"]), assigned))
    ]
    if expected in names:
        return expected
    return names[-1] if names else None


def _expanded(text: str, assigned: Mapping[str, str]) -> str | None:
    """Replace variables by the script's own values, innermost first, and others by their default."""
    for _ in range(8):
        if "$(" in text or "`" in text:
            return None
        match = _WITH_DEFAULT.search(text)
        if match is None:
            return text if re.fullmatch(r"[\w.:/@-]+", text) else None
        name: str = match[1] or match[3]
        value: str | None = assigned.get(name, match[2])
        if value is not None and name in _variables(value):
            value = _own_default(value, name)  # `IMG="${IMG:-name}"`: the script's own default becomes the value
        if value is None:
            return None
        text = text[: match.start()] + value + text[match.end() :]
    return None


def _variables(text: str) -> set[str]:
    return {match[1] or match[3] for match in _WITH_DEFAULT.finditer(text)}


def _own_default(value: str, name: str) -> str | None:
    match = re.fullmatch(r"\$\{" + name + r":?[-=](.*)\}", value)
    return match[1] if match else None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
