"""A command line in any order, taken apart by the table of fields: flags before, between or after the words. Pure.

argparse fills its optional positionals from the first group of words alone, so `run x --cloud aws train` fails. Here it
reads flags only. The other parts are words, or mistakes.
"""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NoReturn

from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.option import EntryPoint, InputOption
from cvl_ci.inputs.parsers import SPOT_WORDS
from cvl_ci.inputs.reader import Inputs, from_words
from cvl_ci.inputs.suggest import similar
from cvl_ci.inputs.table import RUN_BY_NAME, run_options

_IN_PLACE_OF_AN_EXAMPLE = {"command", "setup", "workdir", "include", "exclude", "file_mounts", "task"}

USAGE = "%(prog)s [EXAMPLE [PRESET]] [options] [-- ARGS...]"


class AnyOrderParser(argparse.ArgumentParser):
    """For `add_subparsers(parser_class=AnyOrderParser)`. Puts `words`, `unknown` and `rest` into the namespace.

    `doubtful`: a word follows an option that resembles none, and may be its value or an argument.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        before, rest = _split(list(args or ()))
        optional = {flag for flag, action in self._option_string_actions.items() if action.nargs == "?"}
        parsed, remainder = super().parse_known_args(_alone(before, optional), namespace)
        parsed.rest = rest
        parsed.unknown = [word for word in remainder if _is_flag(word)]
        parsed.known_flags = sorted(self._option_string_actions)
        values, parsed.doubtful = self._values_of_unknown(before, parsed.unknown, optional)
        parsed.words = [word for word in remainder if not _is_flag(word)]
        for value in values:
            if value in parsed.words:
                parsed.words.remove(value)
        return parsed, []

    def _values_of_unknown(
        self, line: list[str], unknown: Collection[str], optional: Collection[str]
    ) -> tuple[list[str], bool]:
        """Return the values of mistyped options, and whether a further word may be such a value."""
        values, doubtful = [], False
        for word, following in pairwise(line):
            if word not in unknown or "=" in word or _is_flag(following):
                continue
            flag = next(iter(similar(word, self._option_string_actions)), None)
            if flag is None:
                doubtful = True
            elif flag in optional:
                values += [following] if following.lower() in SPOT_WORDS else []
            elif self._option_string_actions[flag].nargs != 0:
                values.append(following)
        return values, doubtful

    def error(self, message: str) -> NoReturn:
        raise RequestError([InputProblem(field="command line", value=self.prog, problem=f"cannot be read: {message}")])


def add_arguments(
    parser: argparse.ArgumentParser,
    *,
    without: Collection[str] = (),
    words: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Add the flag of every field. The help explains positional fields, which come from the other words.

    `without`: names of fields that the verb does not take. `words`: its own help or default of a field.
    """
    parser.usage = USAGE
    fields = [
        replace(field, **words.get(field.name, {}))
        for field in run_options(EntryPoint.CLI)
        if field.name not in without
    ]
    add_words(parser, fields, title="words")
    work = parser.add_argument_group("what to run instead of an example")
    options = parser.add_argument_group("how and where")
    for field in fields:
        if field.is_positional:
            continue
        group = work if field.name in _IN_PLACE_OF_AN_EXAMPLE else options
        group.add_argument(
            *field.flags, dest=field.name, metavar=field.metavar, help=explained(field), **_argparse_settings(field)
        )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a run to a verb that runs several jobs: each counts for every job. `--example` names one."""
    group = parser.add_argument_group("inputs of every job")
    example = RUN_BY_NAME["example"]
    group.add_argument(example.flag, metavar=example.metavar, help="Run presets of this example instead of a file.")
    for field in run_options(EntryPoint.CLI):
        if not field.is_positional:
            group.add_argument(
                *field.flags, dest=field.name, metavar=field.metavar, help=explained(field), **_argparse_settings(field)
            )


def add_words(parser: argparse.ArgumentParser, fields: Sequence[InputOption], *, title: str) -> None:
    """Explain the positional fields in a group of their own: argparse itself must not read them."""
    indent = " " * 22
    width = max(40, shutil.get_terminal_size().columns - 2 - len(indent))
    rows = []
    for field in fields:
        if field.is_positional:
            first, *rest = textwrap.wrap(explained(field), width)
            head = field.metavar if len(field.metavar) < len(indent) - 1 else f"{field.metavar}\n{indent}"
            rows += [f"{head:<{len(indent) - 2}}{first}", *(f"{indent[2:]}{line}" for line in rest)]
    if rows:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument_group(title, "\n".join(rows))


def unknown_options(parsed: argparse.Namespace) -> list[InputProblem]:
    """Return a mistake for each option that this verb does not have."""
    flags: list[str] = list(getattr(parsed, "known_flags", ()))
    unknown: list[str] = list(getattr(parsed, "unknown", ()))
    names = [word.partition("=")[0] for word in unknown]
    return [
        InputProblem(field=name, value=word, problem="is not an option", near=similar(name, flags))
        for name, word in zip(names, unknown, strict=True)
    ]


def explained(field: InputOption) -> str:
    default = f" Default: {field.default}." if field.default else ""
    example = f" Example: {field.example}." if field.example else ""
    return f"{field.help}{example}{default}".replace("%", "%%")


def from_namespace(parsed: argparse.Namespace, *, environment: Mapping[str, str]) -> Inputs:
    """`environment`: where `--secret NAME` finds its value. Raises RequestError after a doubtful word.

    The example that follows would be a guess, and so would every message on it.
    """
    values = {name: getattr(parsed, name, None) for name in (option.name for option in run_options(EntryPoint.CLI))}
    words: list[str] = list(getattr(parsed, "words", ()))
    mistakes = unknown_options(parsed)
    values["example"], values["preset"] = (*words, None, None)[:2]
    values["args"] = list(getattr(parsed, "rest", ())) or None
    if len(words) > 2 and not mistakes:
        surplus = " ".join(words[2:])
        problem = "is one word too many: put arguments for the script after `--`"
        mistakes.append(InputProblem(field="command line", value=surplus, problem=problem))
    inputs = from_words(values, unknown=mistakes, environment=environment)
    if getattr(parsed, "doubtful", False):
        raise RequestError(inputs.mistakes)
    return inputs


def _argparse_settings(field: InputOption) -> dict[str, Any]:
    if field.is_repeatable:
        return {"action": "append"}
    if field.shape.is_value_optional:
        return {"nargs": "?", "const": "true"}
    return {}


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _alone(arguments: list[str], optional: Collection[str]) -> list[str]:
    """`--spot x train`: `x` is the example, not a value of --spot. `optional`: the flags that may have one."""
    fixed = []
    for at, word in enumerate(arguments):
        following = arguments[at + 1].lower() if at + 1 < len(arguments) else ""
        fixed.append(f"{word}=true" if word in optional and following not in SPOT_WORDS else word)
    return fixed


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1
