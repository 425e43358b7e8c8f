"""The words of the command line as values: verbs, options, and the source of each value. Pure.

`source` names a list: `clouds`, `gpus`, `regions`, `examples`, `leases`, `refs`, `files` or `folders`. A source such as
`true|false` is its own list. An empty source stands for a value that a person makes up.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cvl_ci.inputs.drill_inputs import KILLS, PHASES
from cvl_ci.inputs.locations import CLOUDS, RUNNERS
from cvl_ci.inputs.option import RUN_VERBS, EntryPoint, InputOption
from cvl_ci.inputs.table import run_options, verb_options

LONGEST_HELP = 72
"""Characters of an option's help that a list of completions shows."""

FILES, FOLDERS, EXAMPLES, LEASES, REFS = "files", "folders", "examples", "leases", "refs"
COMMA_LISTS = frozenset({"clouds", "gpus"})
"""Sources of values that a comma separates."""

_SOURCES = {
    "CLOUD": "clouds", "CLOUDS": "clouds", "GPU": "gpus", "GPUS": "gpus", "REGION": "regions",
    "RUNNER": "|".join(RUNNERS), "PHASE": "|".join(PHASES), "KILL": "|".join(KILLS),
    "EXAMPLE": EXAMPLES, "NAME": LEASES, "REF": REFS, "BRANCH": REFS,
    "FILE|PRESET": FILES, "S3|runner": "s3://|runner",
    "FILE": FILES, "PATHS": FILES, "GLOB": FILES, "DIR": FOLDERS, "FOLDER": FOLDERS,
}  # fmt: skip
"""By the name of the value in the help."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option. `metavar` is empty for a switch, which takes no value."""

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    source: str = ""
    is_value_optional: bool = False
    is_repeatable: bool = False


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb with its options. `words`: the source of each word after it; `is_open`: the last one repeats."""

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...] = ()
    is_open: bool = False
    verbs: tuple[Verb, ...] = ()


def read(parser: argparse.ArgumentParser) -> Verb:
    """Return the program as a verb that holds the others, read from the parser of the command line."""
    return _verb("", "", parser)


def lists(program: Verb, *, gpus: Sequence[str], regions: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the words of each source that is known beforehand. A shell cannot show a name with a space in it."""
    literal = {source: source.split("|") for source in _sources(program) if "|" in source}
    names = {"clouds": ["any", *sorted(CLOUDS)], "gpus": ["none", *gpus], "regions": regions}
    return {source: [word for word in words if " " not in word] for source, words in (names | literal).items()}


def walk(verb: Verb, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Verb]]:
    """Yield each verb below this one with its path: `("sandbox", "up")`."""
    for child in verb.verbs:
        yield (*path, child.name), child
        yield from walk(child, (*path, child.name))


def _sources(program: Verb) -> Iterator[str]:
    for _, verb in walk(program):
        yield from verb.words
        yield from (option.source for option in verb.options)


def _verb(name: str, text: str, parser: argparse.ArgumentParser) -> Verb:
    options: list[Option] = []
    words: list[tuple[str, bool]] = []
    verbs: list[Verb] = []
    for action in parser._actions:  # noqa: SLF001  argparse has no other name for what a parser knows
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
            verbs += [_verb(word, helps.get(word, ""), child) for word, child in action.choices.items()]
        elif action.option_strings:
            options.append(_option(action))
        else:
            words.append((_source(action), action.nargs in ("*", "+")))
    fields: Sequence[InputOption] = run_options(EntryPoint.CLI) if name in RUN_VERBS else verb_options(name)
    words += [
        (_of_metavar(field.metavar), field.is_repeatable)
        for field in fields
        if field.is_positional and field.name != "args"
    ]
    return Verb(
        name=name,
        help=text,
        options=tuple(options),
        words=tuple(source for source, _ in words),
        is_open=bool(words) and words[-1][1],
        verbs=tuple(verbs),
    )


def _option(action: argparse.Action) -> Option:
    takes_value = action.nargs != 0
    return Option(
        flags=tuple(action.option_strings),
        help=_short(action.help or ""),
        metavar=_metavar(action) if takes_value else "",
        source=_source(action) if takes_value else "",
        is_value_optional=action.nargs == "?",
        is_repeatable=isinstance(action, argparse._AppendAction),  # noqa: SLF001
    )


def _source(action: argparse.Action) -> str:
    return "|".join(map(str, action.choices)) if action.choices else _of_metavar(_metavar(action))


def _metavar(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()


def _of_metavar(metavar: str) -> str:
    return _SOURCES.get(metavar.removesuffix("..."), metavar if "|" in metavar else "")


def _short(text: str) -> str:
    """Return the first sentence on one line, cut to the width of a list."""
    sentence = " ".join(text.replace("%%", "%").split()).partition(". ")[0].rstrip(".")
    return sentence if len(sentence) <= LONGEST_HELP else sentence[: LONGEST_HELP - 1].rstrip() + "…"
