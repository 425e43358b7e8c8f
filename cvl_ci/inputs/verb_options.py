"""The options of the verbs that are not a run, on a command line: added to a parser, and read from it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.arguments import add_positionals, explained
from cvl_ci.inputs.line_parser import line_mistakes
from cvl_ci.inputs.option import InputOption
from cvl_ci.inputs.parsers import Wrong

VERBS = ("matrix", "report", "history", "drill", "prices", "cost", "models", "queue", "deploy")
"""The verbs whose options verb_options of the table names."""


def add_arguments(parser: ArgumentParser, fields: Sequence[InputOption]) -> None:
    """Add the flags of these options. Positional options come from the words that are not flags."""
    words = [f"[{field.metavar}]" for field in fields if field.is_positional]
    parser.usage = " ".join(["%(prog)s", *words, "[options]"])
    add_positionals(parser, fields, title="words")
    add_flags(parser, fields)


def add_flags(parser: ArgumentParser, fields: Sequence[InputOption]) -> None:
    """Add the flags of these options, without the words."""
    for field in fields:
        if not field.is_positional:
            kind: dict[str, Any] = {"action": "append"} if field.is_repeatable else {}
            kind = {"nargs": "?", "const": "true"} if field.shape.is_value_optional else kind
            # A switch takes no word: the one after it is a folder.
            kind = kind | {"metavar": field.metavar} if field.metavar else {"action": "store_const", "const": "true"}
            parser.add_argument(*field.flags, dest=field.name, help=explained(field), **kind)


def read(parsed: Namespace, fields: Sequence[InputOption]) -> dict[str, Any]:
    """Return the typed values by name, without those that are absent. Raise RequestError with all mistakes."""
    mistakes = line_mistakes(parsed)
    words, surplus = _words_by_field(parsed.words, [field for field in fields if field.is_positional])
    values: dict[str, Any] = {}
    for field in fields:
        value = words[field.name] if field.is_positional else getattr(parsed, field.name, None)
        if value in (None, [], ""):
            continue
        try:
            values[field.name] = field.read(value)
        except Wrong as wrong:
            mistakes.append(
                InputProblem(field=name_of(field), value=str(value), problem=wrong.problem, near=wrong.near)
            )
    if surplus and not parsed.doubtful:
        mistakes.append(InputProblem(field="command line", value=" ".join(surplus), problem="is one word too many"))
    if mistakes:
        raise RequestError(mistakes)
    return values


def name_of(field: InputOption) -> str:
    """Return the name of an option as a person types it."""
    return field.metavar if field.is_positional else field.flag


def _words_by_field(
    words: Sequence[str], fields: Sequence[InputOption]
) -> tuple[dict[str, str | list[str] | None], list[str]]:
    """Return the words of each positional field in order, and the surplus. A repeatable field takes all the rest."""
    remaining = list(words)
    by_field: dict[str, str | list[str] | None] = {}
    for field in fields:
        if field.is_repeatable:
            by_field[field.name], remaining = remaining, []
        else:
            by_field[field.name] = remaining.pop(0) if remaining else None
    return by_field, remaining
