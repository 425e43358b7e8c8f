"""Read the base images of a Dockerfile. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress

from cvl_ci.inputs.parsers import Wrong

FILE_NAME = "Dockerfile"
_INSTRUCTION = re.compile(r"^\s*(?P<word>[A-Za-z]+)\s+(?P<rest>.*)$")
_COPIED = re.compile(r"(?:^|\s)--from=[\"']?([^\s\"']+)")
_MOUNTED = re.compile(r"--mount=(?:[^\s,]*,)*?[\"']?from=([^\s,\"']+)")
_HERE_DOCUMENT = re.compile(r"^\s*(?:RUN|COPY|ADD)\b.*<<-?[\"']?(?P<end>\w+)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?P<braced>\w+)(?P<rest>:?[-+][^}]*)?\}|\$(?P<plain>\w+)")


def bases(text: str, arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Return the images that a Dockerfile begins from, in order and once each, without `scratch` and its own stages.

    Raise Wrong for one whose name needs an argument without a value.
    Source: docs.docker.com/reference/dockerfile, FROM, ARG, and `COPY --from`.
    """
    values: dict[str, str] = {}
    stages: set[str] = set()
    names: list[str] = []
    has_stage = False
    for line in _logical_lines(text):
        match = _INSTRUCTION.match(line)
        word = match["word"].upper() if match else ""
        if match and word == "ARG" and not has_stage:
            values |= _declared(match["rest"], arguments, values)
        elif match and word == "FROM":
            has_stage = True
            words = [one for one in match["rest"].split() if not one.startswith("--")]
            name = _expanded(words[0] if words else "", values)
            names += [name] if name.lower() not in stages and name != "scratch" and not name.isdecimal() else []
            stages |= {words[2].lower()} if len(words) > 2 and words[1].upper() == "AS" else set()
        elif match and word in {"COPY", "ADD", "RUN"}:
            sources = (_MOUNTED if word == "RUN" else _COPIED).findall(match["rest"])
            names += [one for one in sources if one.lower() not in stages and not one.isdecimal() and "$" not in one]
    return tuple(dict.fromkeys(names))


def _words(text: str) -> Sequence[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    until = ""
    for line in text.splitlines():
        if until:
            until = "" if line.strip() == until else until
        elif not line.lstrip().startswith("#"):
            lines.append(line)
            document = _HERE_DOCUMENT.search(line)
            until = document["end"] if document else ""
    return re.sub(r"[\\`]\s*\n", " ", "\n".join(lines)).splitlines()


def _declared(rest: str, arguments: Mapping[str, str], outer: Mapping[str, str]) -> dict[str, str]:
    """Return the values of one ARG. Leave out a default that needs an argument without a value."""
    values: dict[str, str] = {}
    for word in _words(rest):
        name, sign, default = word.partition("=")
        with suppress(Wrong):
            if name in arguments or sign:
                values[name] = arguments[name] if name in arguments else _expanded(default, {**outer, **values})
    return values


def _expanded(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, rest = match["braced"] or match["plain"], match["rest"] or ""
        if values.get(name):
            return rest.lstrip(":")[1:] if rest.lstrip(":").startswith("+") else values[name]
        if rest.lstrip(":").startswith("-"):
            return rest.lstrip(":")[1:]
        raise Wrong(f"begins FROM {text}, and {name} has no value")

    return _VARIABLE.sub(value, text)
