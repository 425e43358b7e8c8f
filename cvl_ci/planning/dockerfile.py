"""Read the base images of a Dockerfile. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from cvl_ci.inputs.parsers import Wrong

FILE_NAME = "Dockerfile"
_INSTRUCTION = re.compile(r"^\s*(?P<word>[A-Za-z]+)\s+(?P<rest>.*)$")
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
            values |= _declared(match["rest"], arguments)
        elif match and word == "FROM":
            has_stage = True
            words = [one for one in match["rest"].split() if not one.startswith("--")]
            name = _expanded(words[0] if words else "", values)
            names += [name] if name not in stages and name != "scratch" and not name.isdecimal() else []
            stages |= {words[2].lower()} if len(words) > 2 and words[1].upper() == "AS" else set()
        elif match and word in {"COPY", "ADD", "RUN"}:
            sources = re.findall(r"(?:--from=|,from=)([^\s,]+)", match["rest"])
            names += [one for one in sources if one.lower() not in stages and not one.isdecimal() and "$" not in one]
    return tuple(dict.fromkeys(names))


def _words(text: str) -> Sequence[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _logical_lines(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return re.sub(r"[\\`]\s*\n", " ", "\n".join(lines)).splitlines()


def _declared(rest: str, arguments: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for word in _words(rest):
        name, sign, default = word.partition("=")
        if name in arguments or sign:
            values[name] = arguments.get(name, default)
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
