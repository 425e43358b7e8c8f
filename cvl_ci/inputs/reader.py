"""What was asked, typed: from the action's environment, a command line or keywords, by one parser. Pure.

No mistake stops the reading: they are kept beside what could be read, so that one message can name them all.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cvl_ci.errors import Mistake
from cvl_ci.inputs import action_variables, parsers
from cvl_ci.inputs import locations as places
from cvl_ci.inputs.fields import BY_NAME, FIELDS, Field
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import near
from cvl_ci.model.plan import Place, Secret, Spot


class Spelling(enum.Enum):
    """How the person wrote an input's name, so that a message can say it the same way."""

    KEYWORD = "keyword"
    FLAG = "flag"
    INPUT = "input"

    def of(self, name: str) -> str:
        known = BY_NAME.get(name)
        if self is Spelling.FLAG and not (known and known.positional):
            return "--" + name.replace("_", "-")
        return name


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """One request. None: not given, so that an example's or a task's own word can stand.

    `gpu` is as typed: its names are only made SkyPilot's where the catalogue is known. `places` holds cloud, region
    and runner together; an empty tuple is an explicit `any`.
    """

    example: str | None = None
    preset: str | None = None
    args: tuple[str, ...] = ()
    command: str | None = None
    workdir: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    files: tuple[str, ...] | None = None
    task: str | None = None
    gpu: Mapping[str, int] | None = None
    places: tuple[Place, ...] | None = None
    spot: Spot | None = None
    num_nodes: int | None = None
    image: str | None = None
    cpus: float | None = None
    memory: float | None = None
    disk_size: int | None = None
    instance_type: str | None = None
    max_runtime: float | None = None
    provision_timeout: float | None = None
    heartbeat_minutes: int | None = None
    max_cost: float | None = None
    keep_on_failure: int | None = None
    ssh_public_key: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    repeat: int | None = None
    compare: str | None = None
    fail_on_regression: bool | None = None
    outputs: tuple[str, ...] = ()
    spelling: Spelling = Spelling.KEYWORD
    mistakes: tuple[Mistake, ...] = ()

    def mistake(self, name: str, value: object, problem: str, *, near: tuple[str, ...] = ()) -> Mistake:
        """A mistake in the field of this name, named as this person wrote it."""
        return Mistake(field=self.spelling.of(name), value=str(value), problem=problem, near=near)


def from_keywords(given: Mapping[str, object], *, environment: Mapping[str, str]) -> Inputs:
    """The library's way. `environment`: where the value of a secret that is named alone is found."""
    unknown = [
        Mistake(field=name, value=_shown(value), problem="is no input", near=near(name, BY_NAME))
        for name, value in given.items()
        if name not in BY_NAME
    ]
    return _inputs(given, Spelling.KEYWORD, environment=environment, mistakes=unknown)


def from_environment(environment: Mapping[str, str]) -> Inputs:
    """Return the inputs of a run that the action got. The other inputs have readers of their own.

    An input that the action does not have is a mistake: a wrongly written limit must not be no limit.
    """
    values = action_variables.values(environment)
    unknown = [
        Mistake(field=name, value=_shown(value), problem="is no input", near=near(name, BY_NAME))
        for name, value in values.items()
        if name not in action_variables.names()
    ]
    given = {name: value for name, value in values.items() if name in BY_NAME}
    return _inputs(given, Spelling.INPUT, environment=environment, mistakes=unknown)


def from_words(given: Mapping[str, object], *, unknown: list[Mistake], environment: Mapping[str, str]) -> Inputs:
    """The command line's way, after arguments.py has taken it apart."""
    return _inputs(given, Spelling.FLAG, environment=environment, mistakes=unknown)


def _inputs(
    given: Mapping[str, object], spelling: Spelling, *, environment: Mapping[str, str], mistakes: list[Mistake]
) -> Inputs:
    read: dict[str, Any] = {}
    for one in FIELDS:
        value = given.get(one.name)
        if _empty(value):
            continue
        try:
            read[one.name] = _reader(one, environment)(value)
        except Wrong as wrong:
            shown = wrong.shown if wrong.shown is not None else _shown(value)
            mistakes.append(_mistake(spelling, one.name, shown, wrong))
    where = _where(read, spelling, mistakes)
    both = read.get("env", {}).keys() & read.get("secrets", {}).keys()
    mistakes += [_mistake(spelling, "env", name, Wrong("is given as a secret too")) for name in sorted(both)]
    return Inputs(**read, places=where, spelling=spelling, mistakes=tuple(mistakes))


def _where(read: dict[str, Any], spelling: Spelling, mistakes: list[Mistake]) -> tuple[Place, ...] | None:
    """Cloud, region and runner, which say one thing together; taken out of what was read."""
    found: tuple[Place, ...] | None = read.pop("cloud", None)
    runner: str | None = read.pop("runner", None)
    region: str | None = read.pop("region", None)
    cloud = places.RUNNERS[runner] if runner else None
    if cloud and found is None:
        found = (Place(cloud=cloud),)
    elif cloud and found != () and any(place.cloud != cloud for place in found or ()):
        wrong = Wrong(f"means {cloud}, but the cloud given is {', '.join(map(str, found or ()))}")
        mistakes.append(_mistake(spelling, "runner", runner, wrong))
    elif cloud and found == ():
        found = (Place(cloud=cloud),)
    if region:
        try:
            found = places.in_region(found or (), region)
        except Wrong as wrong:
            mistakes.append(_mistake(spelling, "region", region, wrong))
    return found


def _reader(one: Field, environment: Mapping[str, str]) -> Any:
    return parsers.secrets(environment) if one.name == "secrets" else one.read


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _mistake(spelling: Spelling, name: str, value: object, wrong: Wrong) -> Mistake:
    return Mistake(field=spelling.of(name), value=str(value), problem=wrong.problem, near=wrong.near)
