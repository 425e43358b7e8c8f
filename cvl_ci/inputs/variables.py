"""Read the variables of a job, from text or from Python. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from cvl_ci.inputs import sendable_text
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.secret import Secret

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def environment(value: object) -> dict[str, str]:
    """KEY=VALUE lines, a list of them, or a mapping."""
    return dict(_pairs(value, alone=_no_value))


def secrets(environment: Mapping[str, str]) -> Callable[[object], dict[str, Secret]]:
    """As `environment`, into Secrets; a NAME alone takes its value from the given environment."""

    def value_of(name: str) -> str:
        if environment.get(name):
            return environment[name]
        raise Wrong("is not set in the environment: give NAME=VALUE, or set it", display=_name_alone(name))

    def read(value: object) -> dict[str, Secret]:
        try:
            return {name: Secret(text) for name, text in _pairs(value, alone=value_of)}
        except Wrong as wrong:
            display = str if isinstance(value, Mapping) else _name_alone
            first, *further = (
                Wrong(one.problem, near=one.near, display=display(one.display or "")) for one in (wrong, *wrong.further)
            )
            raise Wrong(first.problem, near=first.near, display=first.display, further=tuple(further)) from None

    return read


def _name_alone(text: str) -> str:
    """Return the text if it has the form of a name. Else it may be a part of a secret, such as a line of a key."""
    return text if re.fullmatch(r"[A-Z][A-Z0-9_.-]{0,63}", text) else "***"


def _pairs(value: object, *, alone: Callable[[str], str]) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        pairs = [(str(name), _env_text(text)) for name, text in value.items()]
    else:
        pairs = [_pair(entry, alone=alone) for entry in _entries(value)]
    mistakes = [Wrong(problem, display=name) for name, text in pairs if (problem := _pair_problem(name, text))]
    if mistakes:
        raise Wrong(mistakes[0].problem, display=mistakes[0].display, further=tuple(mistakes[1:]))
    return pairs


def _pair_problem(name: str, text: str) -> str:
    if not _ENV_NAME.fullmatch(name):
        return "is not the name of a variable (letters, digits and _)"
    if name.startswith("CVL_CI_"):
        return "begins with CVL_CI_, which is kept for this program"
    return sendable_text.problem_of_variable(name, text)


def _entries(value: object) -> list[str]:
    """Return the pairs: each entry of a list, or each line of a text. A line that begins with `#` is a comment."""
    if isinstance(value, str):
        return [line.strip() for line in value.splitlines() if line.strip() and not line.strip().startswith("#")]
    if isinstance(value, Sequence):
        return [str(entry) for entry in value if str(entry).strip()]
    raise Wrong("is neither KEY=VALUE lines nor a mapping")


def _pair(entry: str, *, alone: Callable[[str], str]) -> tuple[str, str]:
    name, equals, text = entry.partition("=")
    name = name.strip()
    return (name, text) if equals else (name, alone(name))


def _no_value(name: str) -> str:
    raise Wrong("is not KEY=VALUE", display=name)


def _env_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)
