"""Resolve the paths in a user's task: fill in its variables, and find files of the repository. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

# sky/task.py, _fill_in_env_vars.
_VARIABLE = re.compile(r"\$\{?\b([a-zA-Z_][a-zA-Z0-9_]*)\b\}?")
_FILLED = ("file_mounts", "volumes")
_ELSEWHERE = re.compile(r"[a-z0-9]+://|/|~")
"""Beginnings of a source outside the repository: a bucket, an absolute path, a home."""


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Return the value with `$NAME` and `${NAME}` replaced, in keys too. Unknown names stay unchanged."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {filled(key, variables): filled(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, variables) for inner in value]
    return value


def filled_in(extra: Mapping[str, object], variables: Mapping[str, str]) -> dict[str, object]:
    """Return a task's keys with variables filled in at the same places as in SkyPilot."""
    return {key: filled(value, variables) if key in _FILLED else value for key, value in extra.items()}


def unset(extra: Mapping[str, object], *, secrets: Collection[str]) -> list[str]:
    """Return a sentence for each variable of a mount that is never set. SkyPilot fills in a secret's value itself."""
    mounts = extra.get("file_mounts")
    return [
        f"has file_mounts.{target} from ${name}, which neither its envs nor env and secrets set"
        for target, source in (mounts.items() if isinstance(mounts, Mapping) else ())
        for name in dict.fromkeys(_names(source))
        if name not in secrets
    ]


def _names(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from _VARIABLE.findall(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def with_absolute_sources(
    extra: Mapping[str, object], *, locate: Callable[[str], str | None], root: str
) -> Mapping[str, object]:
    """Return mounts with absolute sources for files of the repository: SkyPilot looks in its own folder."""
    mounts = extra.get("file_mounts")
    if not isinstance(mounts, Mapping):
        return extra

    def absolute(source: object) -> object:
        if isinstance(source, Mapping) and "source" in source:
            return {**source, "source": absolute(source["source"])}
        if isinstance(source, list):
            return [absolute(inner) for inner in source]
        if not isinstance(source, str) or _ELSEWHERE.match(source) or _VARIABLE.match(source):
            return source
        place = locate(source)
        return source if place is None else f"{root}/{place}"

    return {**extra, "file_mounts": {target: absolute(source) for target, source in mounts.items()}}
