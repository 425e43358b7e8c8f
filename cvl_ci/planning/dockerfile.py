"""Read a Dockerfile and the build script next to it: base images and build arguments. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from cvl_ci.inputs.parsers import Wrong

FILE_NAME = "Dockerfile"
_INSTRUCTION = re.compile(r"^\s*(?P<word>[A-Za-z]+)\s+(?P<rest>.*)$")
_VARIABLE = re.compile(r"\$\{(?P<braced>\w+)(?P<rest>:?[-+][^}]*)?\}|\$(?P<plain>\w+)")
_BUILD = re.compile(r"\bdocker\s+(?:buildx\s+|image\s+)?build\b(?P<words>[^\n|;&]*)")
_OWN_FOLDER = re.compile(r"[\"']?(?:\.|\./|\$\{?(?:SCRIPT_DIR|SCRIPT_PATH|HERE|DIR|EXAMPLE_DIR)\}?/?)[\"']?")
_WITH_VALUE = {"-t", "--tag", "-f", "--file", "--build-arg", "--platform", "--progress", "--network", "--target"}


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


def build_arguments(script: str) -> dict[str, str]:
    """Return the build arguments that a build script gives as plain values. Raise Wrong for another kind of build."""
    arguments: dict[str, str] = {}
    for build in _BUILD.finditer(re.sub(r"\\\r?\n", " ", script)):
        words = _words(build["words"])
        positional: list[str] = []
        at = 0
        while at < len(words):
            name, sign, value = words[at].partition("=")
            if name in _WITH_VALUE and not sign:
                at += 1
                value = words[at] if at < len(words) else ""
            if name == "--build-arg":
                key, _, text = value.partition("=")
                if "$" in text or "`" in text:
                    raise Wrong(f"builds with --build-arg {key}, whose value its script computes")
                arguments[key] = text
            elif name in {"-f", "--file"} and value.rpartition("/")[2] != FILE_NAME:
                raise Wrong(f"builds from {value}, which is not its {FILE_NAME}")
            elif name == "--target":
                raise Wrong(f"builds the stage {value} alone")
            elif not name.startswith("-"):
                positional.append(words[at])
            at += 1
        if positional and not _OWN_FOLDER.fullmatch(positional[-1]) and not _is_own_folder(positional[-1]):
            raise Wrong(f"builds in {positional[-1]}, which is not its own folder")
    return arguments


def _is_own_folder(word: str) -> bool:
    return "dirname" in word or word in {"$(pwd)", "$PWD", "${PWD}"}


def _words(text: str) -> Sequence[str]:
    hidden = re.sub(r"\$\([^()]*\)", lambda match: match[0].replace(" ", "\0").replace('"', "\1"), text)
    try:
        return [word.replace("\0", " ").replace("\1", '"') for word in shlex.split(hidden)]
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
