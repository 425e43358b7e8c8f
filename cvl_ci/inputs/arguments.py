"""The inputs of a run on a command line: their flags, their help, and what a parsed line says of them. Pure."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.line_parser import line_mistakes
from cvl_ci.inputs.option import EntryPoint, InputOption
from cvl_ci.inputs.reader import Inputs, from_values
from cvl_ci.inputs.table import RUN_BY_NAME, run_options

_IN_PLACE_OF_AN_EXAMPLE = {"command", "setup", "workdir", "include", "exclude", "file_mounts", "task"}

USAGE = "%(prog)s [EXAMPLE [PRESET]] [options] [-- ARGS...]"


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
    add_positionals(parser, fields, title="words")
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


def add_positionals(parser: argparse.ArgumentParser, fields: Sequence[InputOption], *, title: str) -> None:
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
    mistakes = line_mistakes(parsed)
    if words and any(values[name] for name in ("command", "task")) and (flag := _switch_before(words[0], parsed)):
        problem = f"is none of {', '.join(_choices()[flag].split('|'))}"
        mistakes.append(InputProblem(field=flag, value=words.pop(0), problem=problem))
    values["example"], values["preset"] = (*words, None, None)[:2]
    values["args"] = list(getattr(parsed, "rest", ())) or None
    if len(words) > 2 and not mistakes:
        surplus = " ".join(words[2:])
        problem = "is one word too many: put arguments for the script after `--`"
        mistakes.append(InputProblem(field="command line", value=surplus, problem=problem))
    inputs = from_values(values, unknown=mistakes, environment=environment)
    if getattr(parsed, "doubtful", False):
        raise RequestError(inputs.mistakes)
    return inputs


def naming_options(error: RequestError, parsed: argparse.Namespace) -> RequestError:
    """Return the error, with the option in place of an example that does not exist, if its word follows an option.

    `--spot perhaps --command ls`: the person meant a value of --spot.
    """

    def named(mistake: InputProblem) -> InputProblem:
        flag = _switch_before(mistake.value, parsed)
        if mistake.field != "example" or not flag:
            return mistake
        problem = f"is none of {', '.join(_choices()[flag].split('|'))}, and it {mistake.problem}"
        return replace(mistake, field=flag, problem=problem)

    return RequestError([named(mistake) for mistake in error.mistakes], next_step=error.next_step)


def _switch_before(word: str, parsed: argparse.Namespace) -> str:
    """Return the option of a run that may stand alone and that this word follows; empty for none."""
    flag: str = getattr(parsed, "after_switch", {}).get(word, "")
    return flag if flag in _choices() else ""


def _choices() -> dict[str, str]:
    return {flag: option.metavar for option in run_options(EntryPoint.CLI) for flag in option.flags}


def _argparse_settings(field: InputOption) -> dict[str, Any]:
    if field.is_repeatable:
        return {"action": "append"}
    if field.shape.is_value_optional:
        return {"nargs": "?", "const": "true"}
    return {}
