"""Read the inputs of a run from the action's environment, a command line or keywords, by one parser. Pure.

A mistake does not stop the reader. It collects all mistakes, so that one message can name them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cvl_ci.errors import InputProblem
from cvl_ci.inputs import action_variables, variables
from cvl_ci.inputs import locations as places
from cvl_ci.inputs.checkpoint_inputs import CheckpointInputs
from cvl_ci.inputs.keep_inputs import KeepInputs
from cvl_ci.inputs.machine_inputs import MachineInputs
from cvl_ci.inputs.model_inputs import RunModelInputs
from cvl_ci.inputs.option import EntryPoint, by_own_name, options_of
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.run_inputs import (
    FileInputs,
    LimitInputs,
    LocationInputs,
    TrialInputs,
    VariableInputs,
    WorkInputs,
)
from cvl_ci.inputs.suggest import similar
from cvl_ci.inputs.table import RUN_BY_NAME, RUN_OPTIONS, run_options
from cvl_ci.model.location import Location
from cvl_ci.model.reuse import SECRET_VARIABLE

_EMPTY_KEYWORD = "is empty: give a value, or leave the keyword out"
Group = TypeVar("Group")


class Spelling(enum.Enum):
    """How the person wrote an input's name, so that a message can say it the same way."""

    KEYWORD = "keyword"
    FLAG = "flag"
    INPUT = "input"

    def of(self, name: str) -> str:
        option = RUN_BY_NAME.get(name)
        if self is Spelling.FLAG and not (option and option.is_positional):
            return "--" + name.replace("_", "-")
        return name


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """One request: the groups of run_inputs.py, each as far as it could be read, and everything that is wrong."""

    work: WorkInputs = field(default_factory=WorkInputs)
    location: LocationInputs = field(default_factory=LocationInputs)
    machine: MachineInputs = field(default_factory=MachineInputs)
    limits: LimitInputs = field(default_factory=LimitInputs)
    keep: KeepInputs = field(default_factory=KeepInputs)
    variables: VariableInputs = field(default_factory=VariableInputs)
    trials: TrialInputs = field(default_factory=TrialInputs)
    files: FileInputs = field(default_factory=FileInputs)
    checkpoints: CheckpointInputs = field(default_factory=CheckpointInputs)
    models: RunModelInputs = field(default_factory=RunModelInputs)
    spelling: Spelling = Spelling.KEYWORD
    mistakes: tuple[InputProblem, ...] = ()

    def value(self, name: str) -> Any:
        """Return the typed value of the option `name`, whichever group has it. Raises StopIteration for none."""
        groups = (self.work, self.location, self.machine, self.limits, self.keep, self.variables, self.trials)
        return next(
            getattr(group, name)
            for group in (*groups, self.files, self.checkpoints, self.models)
            if name in {option.name for option in options_of(type(group))}
        )

    def mistake(self, name: str, value: object, problem: str, *, near: tuple[str, ...] = ()) -> InputProblem:
        """Return a mistake in the field of this name, with the name as the person wrote it."""
        return InputProblem(field=self.spelling.of(name), value=str(value), problem=problem, near=near)


def from_keywords(keywords: Mapping[str, object], *, environment: Mapping[str, str]) -> Inputs:
    """Return the inputs of the library's keywords. `environment`: holds the value of a secret that has only a name."""
    values = by_own_name(keywords, RUN_OPTIONS)
    names = [option.name for option in run_options(EntryPoint.LIBRARY)]
    unknown = [_unknown(name, value, names) for name, value in values.items() if name not in names]
    return _inputs(values, Spelling.KEYWORD, environment=environment, mistakes=unknown)


def from_environment(environment: Mapping[str, str]) -> Inputs:
    """Return the inputs of a run that the action got. The other inputs have readers of their own.

    An input that the action does not have is a mistake: a wrongly written limit must not be no limit.
    """
    values = action_variables.values(environment)
    names = action_variables.names()
    unknown = [_unknown(name, value, names) for name, value in values.items() if name not in names]
    run_values = {name: value for name, value in values.items() if name in RUN_BY_NAME}
    return _inputs(run_values, Spelling.INPUT, environment=environment, mistakes=unknown)


def from_values(values: Mapping[str, object], *, unknown: list[InputProblem], environment: Mapping[str, str]) -> Inputs:
    """Return the inputs of a command line that arguments.py has split."""
    return _inputs(values, Spelling.FLAG, environment=environment, mistakes=unknown)


def read_group(
    group: type[Group],
    values: Mapping[str, object],
    *,
    spelling: Spelling,
    mistakes: list[InputProblem],
    readers: Mapping[str, Callable[[Any], Any]] | None = None,
) -> Group:
    """Return a group of these values; add everything that is wrong to `mistakes`.

    An input of the action without content is absent. A keyword without content is a mistake: `max_cost=""` is often
    a variable without a value, and not a wish for no limit.
    `readers`: readers that replace an option's own, by its name.
    """
    arguments: dict[str, Any] = {}
    for option in options_of(group):
        value = values.get(option.name)
        if _empty(value):
            if spelling is Spelling.KEYWORD and value is not None:
                mistakes.append(_mistake(spelling, option.name, value, Wrong(_EMPTY_KEYWORD)))
            continue
        try:
            arguments[option.name] = (readers or {}).get(option.name, option.read)(value)
        except Wrong as wrong:
            for one in (wrong, *wrong.further):
                display = one.display if one.display is not None else _as_text(value)
                mistakes.append(_mistake(spelling, option.name, display, one))
    return group(**arguments)


def _inputs(
    values: Mapping[str, object], spelling: Spelling, *, environment: Mapping[str, str], mistakes: list[InputProblem]
) -> Inputs:
    def read(group: type[Group]) -> Group:
        readers = {"secrets": variables.secrets(environment)}
        return read_group(group, values, spelling=spelling, mistakes=mistakes, readers=readers)

    work, location, machine, limits = read(WorkInputs), read(LocationInputs), read(MachineInputs), read(LimitInputs)
    own, trials, files = read(VariableInputs), read(TrialInputs), read(FileInputs)
    own_secret = environment.get(SECRET_VARIABLE) if spelling is not Spelling.INPUT and values.get("reuse") else None
    keep_values = {**values, "reuse_key": values.get("reuse_key") or own_secret}
    keep = read_group(KeepInputs, keep_values, spelling=spelling, mistakes=mistakes)
    location = replace(location, cloud=_places(location, spelling, mistakes))
    duplicates = own.env.keys() & own.secrets.keys()
    mistakes += [_mistake(spelling, "env", name, Wrong("is given as a secret too")) for name in sorted(duplicates)]
    return Inputs(
        work=work,
        location=location,
        machine=machine,
        limits=limits,
        keep=keep,
        variables=own,
        trials=trials,
        files=files,
        checkpoints=read(CheckpointInputs),
        models=read(RunModelInputs),
        spelling=spelling,
        mistakes=tuple(mistakes),
    )


def _places(location: LocationInputs, spelling: Spelling, mistakes: list[InputProblem]) -> tuple[Location, ...] | None:
    """Return the places that cloud, region and runner name together."""
    chosen, runner, region = location.cloud, location.runner, location.region
    cloud = places.RUNNERS[runner] if runner else None
    if cloud and chosen is None:
        chosen = (Location(cloud=cloud),)
    elif cloud and chosen != () and any(place.cloud != cloud for place in chosen or ()):
        wrong = Wrong(f"means {cloud}, but the cloud given is {', '.join(map(str, chosen or ()))}")
        mistakes.append(_mistake(spelling, "runner", runner, wrong))
    elif cloud and chosen == ():
        chosen = (Location(cloud=cloud),)
    if region:
        try:
            chosen = places.in_region(chosen or (), region)
        except Wrong as wrong:
            mistakes.append(_mistake(spelling, "region", region, wrong))
    return chosen


def _unknown(name: str, value: object, names: Collection[str]) -> InputProblem:
    own_name = next((option.name for option in RUN_OPTIONS if name in option.other_names), None)
    if own_name is not None:
        problem = f"is another name of {own_name}, which has a value too: give one of them"
        return InputProblem(field=name, value=_as_text(value), problem=problem)
    return InputProblem(field=name, value=_as_text(value), problem="is not an input", near=similar(name, names))


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _as_text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _mistake(spelling: Spelling, name: str, value: object, wrong: Wrong) -> InputProblem:
    return InputProblem(field=spelling.of(name), value=str(value), problem=wrong.problem, near=wrong.near)
