"""The declaration of one input: a dataclass field of its group, whose metadata everything else is a view of.

The command line, the action's environment, the library's keywords, action.yml, the documentation's tables and the shell
completion all read `options_of` a group. An input is written once.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class EntryPoint(enum.Enum):
    CLI = "command line"
    ACTION = "action"
    LIBRARY = "library"


EVERYWHERE = frozenset(EntryPoint)
COMMANDS = frozenset({EntryPoint.CLI, EntryPoint.ACTION})
CLI = frozenset({EntryPoint.CLI})
ACTION = frozenset({EntryPoint.ACTION})

RUN_VERBS = ("plan", "run")


@dataclass(frozen=True, kw_only=True)
class InputOption:
    """One input. Its name is the library's keyword, the action's input and, with dashes, the command line's flag."""

    name: str
    read: Callable[[Any], Any]
    """Return the typed value. Raises parsers.Wrong."""
    help: str
    shape: OptionShape
    default: str = ""
    """What happens without the input, in words."""
    example: str = ""
    action_default: str = ""
    """The value that action.yml gives when a workflow gives none."""
    entry_points: frozenset[EntryPoint] = EVERYWHERE
    verbs: tuple[str, ...] = RUN_VERBS
    """The verbs that take it."""
    action_verbs: tuple[str, ...] | None = None
    """The verbs of the action that take it, where they are others."""
    other_names: tuple[str, ...] = ()
    """Further names, at each of its entry points: the names of a program that this one replaces."""

    @property
    def metavar(self) -> str:
        return self.shape.metavar

    @property
    def is_repeatable(self) -> bool:
        return self.shape.is_repeatable

    @property
    def is_positional(self) -> bool:
        return self.shape.is_positional

    @property
    def flag(self) -> str:
        return _flag(self.shape.flag_name or self.name)

    @property
    def flags(self) -> tuple[str, ...]:
        """The command line's spellings; help shows the first."""
        return (self.flag, *map(_flag, self.other_names), *self.shape.other_flags)

    def is_taken_by(self, verb: str, entry_point: EntryPoint) -> bool:
        """Return whether a verb takes the input at this entry point."""
        in_action = entry_point is EntryPoint.ACTION and self.action_verbs is not None
        verbs = self.action_verbs if in_action and self.action_verbs is not None else self.verbs
        return entry_point in self.entry_points and verb in verbs


@dataclass(frozen=True, kw_only=True)
class OptionShape:
    """How a person writes an option on a command line. An empty `metavar`: a switch, which takes no value."""

    metavar: str = ""
    is_repeatable: bool = False
    is_positional: bool = False
    is_value_optional: bool = False
    """The flag alone means `true`."""
    flag_name: str = ""
    """The name of the flag where it is not the option's: another verb has an option of that name."""
    other_flags: tuple[str, ...] = ()


def option(
    read: Callable[[Any], Any],
    *,
    help: str,  # noqa: A002  argparse names it so
    value: object = None,
    metavar: str = "",
    is_repeatable: bool = False,
    is_positional: bool = False,
    is_value_optional: bool = False,
    flag_name: str = "",
    other_flags: tuple[str, ...] = (),
    **about: Any,
) -> Any:
    """Return a dataclass field that declares an input. `value`: the field's value when the input is not given."""
    shape = OptionShape(
        metavar=metavar,
        is_repeatable=is_repeatable,
        is_positional=is_positional,
        is_value_optional=is_value_optional,
        flag_name=flag_name,
        other_flags=other_flags,
    )
    metadata = {"option": InputOption(name="", read=read, help=help, shape=shape, **about)}
    if isinstance(value, Mapping):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=value, metadata=metadata)


def by_own_name(values: Mapping[str, Any], options: Iterable[InputOption]) -> dict[str, Any]:
    """Return the values by the options' own names. Where both names have a value, both stay."""
    renamed = dict(values)
    for option in options:
        for other in option.other_names:
            if renamed.get(other) in (None, ""):
                renamed.pop(other, None)
            elif renamed.get(option.name) in (None, ""):
                renamed[option.name] = renamed.pop(other)
    return renamed


def options_of(*groups: type[Any]) -> tuple[InputOption, ...]:
    """Return what these groups declare, in order."""
    return tuple(
        dataclasses.replace(field.metadata["option"], name=field.name)
        for group in groups
        for field in dataclasses.fields(group)
        if "option" in field.metadata
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
