"""Read the arguments of the one `docker build` in a build script. Any other recipe is refused. Pure.

cvl-ci builds the example's folder with its Dockerfile. A script that builds in another way would get another image
than its own. So this module must know each word of the build.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.container_image import PLATFORM
from cvl_ci.planning.dockerfile import FILE_NAME

_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_SHOWN = re.compile(r"^[ \t]*(?:echo|printf)\b[^\n|;&]*$", re.MULTILINE)
_BUILD = re.compile(r"\bdocker\s+(?:buildx\s+|image\s+)?build\b(?P<words>[^\n|;&]*)")
_CD = re.compile(r"(?:^|[;&|]|(?<!\$)\()[ \t]*(?:cd|pushd)[ \t]+(?:--[ \t]+)?([^\s;&|)]*)", re.MULTILINE)
_ASSIGNED = re.compile(r"(?:^|[;&|])[ \t]*(?:(?:export|readonly|local|declare)[ \t]+)*(\w+)=([^\n;&|#]*)", re.MULTILINE)
_SCRIPT = r"[\"']?\$\{?(?:0|BASH_SOURCE(?:\[0\])?)\}?[\"']?"
_REAL = rf"(?:{_SCRIPT}|[\"']?\$\((?:readlink\s+-f|realpath)\s+{_SCRIPT}\)[\"']?)"
_DIRNAME = rf"\$\(dirname\s+(?:--\s+)?{_REAL}\)"
_HERE = re.compile(
    rf"\$\(\s*cd\s+(?:--\s+)?[\"']?{_DIRNAME}[\"']?\s*(?:>\s*/dev/null\s*)?(?:2>&1\s*)?"
    r"(?:&&|;)\s*pwd(?:\s+-P)?\s*\)"
    rf"|{_DIRNAME}|\$\(pwd(?:\s+-P)?\)|\$\{{PWD\}}|\$PWD\b"
)
_OWN_NAMES = frozenset({"SCRIPT_DIR", "SCRIPT_PATH", "HERE", "DIR", "EXAMPLE_DIR"})
"""Names that stand for the script's own folder, where another file assigns them."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_TAG, _FILE, _ARGUMENT = ("-t", "--tag"), ("-f", "--file"), "--build-arg"
_WITH_VALUE = (*_TAG, *_FILE, _ARGUMENT, "--platform", "--progress", "--network", "--cache-from", "--cache-to")
_FLAGS = ("--pull", "--no-cache", "--rm", "--force-rm", "--load", "-q", "--quiet")
"""Options that name, show or store the image, and leave its content as it is."""
_LAST_COMMENT = re.compile(r"\s#[^\"']*$")
_REDIRECT = re.compile(r"\d?>>?(?P<to>.*)")


def build_arguments(script: str) -> dict[str, str]:
    """Return the build arguments that a build script gives as plain values. Raise Wrong for another kind of build."""
    text = _HERE.sub(".", _SHOWN.sub("", re.sub(r"\\\r?\n", " ", _COMMENT.sub("", script))))
    builds = list(_BUILD.finditer(text))
    if len(builds) != 1:
        raise Wrong(f"has {len(builds) or 'no'} `docker build` in its build, and one is needed")
    own = _own_names(text)
    for folder in _CD.findall(text[: builds[0].start()]):
        if not _is_own(folder.strip("\"'"), own):
            raise Wrong(f"goes to {folder} before its build, which is not its own folder")
    arguments: dict[str, str] = {}
    positional: list[str] = []
    words = _words(builds[0]["words"])
    while words:
        word = words.pop(0)
        name, sign, value = word.partition("=")
        if redirect := _REDIRECT.fullmatch(word):
            del words[: 0 if redirect["to"] else 1]
        elif not word.startswith("-"):
            positional.append(word)
        elif name in _WITH_VALUE:
            _read_option(name, value if sign else (words.pop(0) if words else ""), arguments, own)
        elif name not in _FLAGS or value not in {"", "true"}:
            raise Wrong(f"builds with {word}")
    if len(positional) != 1 or not _is_own(positional[0], own):
        raise Wrong(f"builds in {' '.join(positional) or 'no folder'}, which is not its own folder")
    return arguments


def _read_option(name: str, value: str, arguments: dict[str, str], own: Collection[str]) -> None:
    """Take one option with its value. Raise Wrong if it changes the image in another way than by an argument."""
    if name == _ARGUMENT:
        key, sign, text = value.partition("=")
        if not sign or "$" in value or "`" in value:
            raise Wrong(f"builds with --build-arg {key}, whose value its script computes")
        arguments[key] = text
    elif name in _FILE:
        folder, _, file = value.rpartition("/")
        if file != FILE_NAME or not _is_own(folder or ".", own):
            raise Wrong(f"builds from {value}, which is not its {FILE_NAME}")
    elif name == "--platform" and value != PLATFORM:
        raise Wrong(f"builds for {value}, and machines are {PLATFORM}")


def _own_names(text: str) -> frozenset[str]:
    """Return the variables that are the script's own folder, by each assignment of them."""
    assigned: dict[str, set[str]] = {}
    for name, value in _ASSIGNED.findall(text):
        assigned.setdefault(name, set()).add(value.strip(" \t\"'").rstrip("/"))
    own = {name for name, values in assigned.items() if values == {"."}}
    return frozenset(own | (_OWN_NAMES - set(assigned)))


def _is_own(word: str, own: Collection[str]) -> bool:
    folder = word.rstrip("/")
    variable = _VARIABLE.fullmatch(folder)
    return folder == "." or (variable is not None and (variable[1] or variable[2]) in own)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(_LAST_COMMENT.sub("", text))
    except ValueError:
        raise Wrong("has a `docker build` that cannot be read") from None
