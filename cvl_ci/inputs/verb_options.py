"""The options of the verbs that are not a run, on a command line: added to a parser, and read from it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.arguments import add_words, explained, unknown_options
from cvl_ci.inputs.option import InputOption
from cvl_ci.inputs.parsers import Wrong

VERBS = ("matrix", "report", "history", "drill", "prices")
"""The verbs whose options verb_options of the table names."""


def add_arguments(parser: ArgumentParser, fields: Sequence[InputOption]) -> None:
    """Add the flags of these options. Positional options come from the words that are not flags."""
    words = [f"[{field.metavar}]" for field in fields if field.is_positional]
    parser.usage = " ".join(["%(prog)s", *words, "[options]"])
    add_words(parser, fields, title="words")
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
    mistakes = unknown_options(parsed)
    values: dict[str, Any] = {}
    for field in fields:
        value = list(parsed.words) if field.is_positional else getattr(parsed, field.name, None)
        if value in (None, [], ""):
            continue
        try:
            values[field.name] = field.read(value)
        except Wrong as wrong:
            name = field.metavar if field.is_positional else field.flag
            mistakes.append(InputProblem(field=name, value=str(value), problem=wrong.problem, near=wrong.near))
    if not any(field.is_positional for field in fields) and parsed.words and not parsed.doubtful:
        mistakes.append(
            InputProblem(field="command line", value=" ".join(parsed.words), problem="is one word too many")
        )
    if mistakes:
        raise RequestError(mistakes)
    return values
