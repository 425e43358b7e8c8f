"""A command line in any order: flags before, between or after the words. Pure.

argparse fills its optional positionals from the first group of words alone, so `run x --cloud aws train` fails. Here it
reads flags only. The other parts are words, or mistakes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, takewhile
from typing import Any, NoReturn

from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.parsers import SPOT_WORDS
from cvl_ci.inputs.suggest import similar

IS_EMPTY = "is empty: give a value, or leave the option out"
_IS_MISSING = "is missing: give a value, or leave the option out"
_NEAR = 0.8
"""How near a word must be to a value of a switch, before it can be no example: `fallbak` and `flase`, not `tree`."""

_VERY_NEAR = 0.85
"""How near an option must be for less similar ones to be no help."""
_ALMOST_BOOLEAN = frozenset({"yes", "no", "on", "off", "maybe", "never", "always", "only", "1", "0"})
_REFUSAL = re.compile(r"argument (?P<flag>-[^:\s/]+)[^:]*: (?P<reason>.*)", re.DOTALL)
_BAD_VALUE = re.compile(r"invalid (?:choice|\w+ value|\w+): '(?P<value>.*?)'(?: \(choose from .*)?", re.DOTALL)

Actions = Mapping[str, argparse.Action]


class AnyOrderParser(argparse.ArgumentParser):
    """For `add_subparsers(parser_class=AnyOrderParser)`. Puts `words`, `unknown` and `rest` into the namespace.

    `doubtful`: a word follows an option that resembles none, and may be its value or an argument. `after_switch`: the
    words after an option that may stand alone, with that option. `mistakes`: those of the line itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        line = list(args or ())
        children = verbs_of(self)
        if children is not None:
            _refuse_before_verb(line, children)
            return super().parse_known_args(line, namespace)
        before, rest = _split(line)
        actions = self._option_string_actions
        before, mistakes = _without_empty(before, actions)
        before, wrong = _without_wrong_switch_values(before, actions)
        parsed, remainder = super().parse_known_args(_alone(before, actions), namespace)
        parsed.rest, parsed.mistakes = rest, [*mistakes, *wrong]
        parsed.unknown = [word for word in remainder if _is_flag(word)]
        parsed.known_flags = sorted(actions)
        parsed.words = [word for word in remainder if not _is_flag(word)]
        values, parsed.doubtful = _values_of_unknown(before, parsed.unknown, actions)
        for value in values:
            if value in parsed.words:
                parsed.words.remove(value)
        pairs = pairwise(before)
        parsed.spellings = _spellings(before, actions)
        parsed.after_switch = {word: flag for flag, word in pairs if _may_stand_alone(flag, actions)}
        return parsed, []

    def error(self, message: str) -> NoReturn:
        raise RequestError([_of_argparse(message, self._option_string_actions, program=self.prog)])


def verbs_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser] | None:
    """Return the verbs of a parser that has some."""
    for action in parser._actions:  # noqa: SLF001  argparse has no other name for what a parser knows
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return None


def line_mistakes(parsed: argparse.Namespace) -> list[InputProblem]:
    """Return the mistakes of the line itself, and one for each option that this verb does not have."""
    flags: list[str] = list(getattr(parsed, "known_flags", ()))
    unknown: list[str] = list(getattr(parsed, "unknown", ()))
    names = [word.partition("=")[0] for word in unknown]
    return [
        *getattr(parsed, "mistakes", ()),
        *(
            InputProblem(
                field=name,
                value=word,
                problem="is not an option",
                near=similar(name, flags, cutoff=_VERY_NEAR) or similar(name, flags),
            )
            for name, word in zip(names, unknown, strict=True)
        ),
    ]


def as_typed(error: RequestError, parsed: argparse.Namespace) -> RequestError:
    """Return the error with each option as the person typed it: an option may have several names."""
    spellings: Mapping[str, str] = getattr(parsed, "spellings", {})
    mistakes = [replace(mistake, field=spellings.get(mistake.field, mistake.field)) for mistake in error.mistakes]
    return RequestError(mistakes, next_step=error.next_step)


def _spellings(line: Sequence[str], actions: Actions) -> dict[str, str]:
    """Return the name that a person typed by each further name of the same option."""
    names = {name: actions[name] for word in line if (name := word.partition("=")[0]) in actions}
    return {other: name for name, action in names.items() for other in action.option_strings if other not in names}


def _refuse_before_verb(line: Sequence[str], verbs: Mapping[str, argparse.ArgumentParser]) -> None:
    """Raise RequestError for a missing or unknown verb, and for an option before it."""
    flags = [word for word in takewhile(_is_flag, line) if word not in ("-h", "--help")]
    word = next((word for word in line if not _is_flag(word)), "")
    mistakes = []
    for flag in flags:
        name = flag.partition("=")[0]
        has_it = any(name in verb._option_string_actions for verb in verbs.values())  # noqa: SLF001
        problem = "stands before the verb: put it after the verb" if has_it else "is not an option"
        mistakes.append(InputProblem(field=name, value=flag, problem=problem))
    if not word and not mistakes and not {"-h", "--help"} & set(line):
        names = ", ".join(verbs)
        mistakes.append(InputProblem(field="VERB", value="", problem=f"is missing: give one of {names}"))
    if word and not mistakes and word not in verbs and line[0] == word:
        near = similar(word, verbs)
        problem = "is not a verb" if near else f"is none of the verbs {', '.join(verbs)}"
        mistakes.append(InputProblem(field="VERB", value=word, problem=problem, near=near))
    if mistakes:
        raise RequestError(mistakes)


def _without_empty(line: Sequence[str], actions: Actions) -> tuple[list[str], list[InputProblem]]:
    """Leave out each option whose value is empty or missing. Such a value is often a variable without a value."""
    remaining: list[str] = []
    mistakes: list[InputProblem] = []
    words = iter(enumerate(line))
    for at, word in words:
        name, equals, value = word.partition("=")
        following = line[at + 1] if at + 1 < len(line) else None
        takes_value = name in actions and actions[name].nargs != 0
        is_alone = takes_value and not equals
        if (takes_value and equals and not value.strip()) or (is_alone and following is not None and _blank(following)):
            mistakes.append(InputProblem(field=name, value=value or "", problem=IS_EMPTY))
            _skip(words, is_alone)
        elif is_alone and actions[name].nargs != "?" and (following is None or _is_known(following, actions)):
            mistakes.append(InputProblem(field=name, value="", problem=_IS_MISSING))
        elif _is_flag(word) and name not in actions and not equals and following is not None and _blank(following):
            remaining.append(f"{word}=")
            _skip(words, True)
        elif _blank(word):
            mistakes.append(InputProblem(field="command line", value=word, problem="is an empty word: leave it out"))
        else:
            remaining.append(word)
            if is_alone and actions[name].nargs != "?" and following is not None:
                remaining.append(following)
                _skip(words, True)
    return remaining, mistakes


def _skip(words: Iterator[object], is_one: bool) -> None:
    if is_one:
        next(words, None)


def _without_wrong_switch_values(line: Sequence[str], actions: Actions) -> tuple[list[str], list[InputProblem]]:
    """Leave out each option that may stand alone, where the word after it is almost one of its values.

    `--spot fallbak x`: a person who gave a value and gets a message on the example `fallbak` looks in the wrong place.
    """
    remaining: list[str] = []
    mistakes: list[InputProblem] = []
    words = iter(enumerate(line))
    for at, word in words:
        following = line[at + 1].lower() if at + 1 < len(line) else ""
        choices = _choices(actions[word]) if _may_stand_alone(word, actions) else ()
        near = similar(following, choices, cutoff=_NEAR) if choices and following else ()
        if choices and following not in SPOT_WORDS and (near or following in _ALMOST_BOOLEAN):
            problem = f"is none of {', '.join(choices)}"
            mistakes.append(InputProblem(field=word, value=line[at + 1], problem=problem, near=near))
            next(words, None)
        else:
            remaining.append(word)
    return remaining, mistakes


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(str(action.metavar or "").split("|"))


def _may_stand_alone(word: str, actions: Actions) -> bool:
    return word in actions and actions[word].nargs == "?"


def _values_of_unknown(line: Sequence[str], unknown: Collection[str], actions: Actions) -> tuple[list[str], bool]:
    """Return the values of mistyped options, and whether a further word may be such a value."""
    values, doubtful = [], False
    for word, following in pairwise(line):
        if word not in unknown or "=" in word or _is_flag(following):
            continue
        flag = next(iter(similar(word, actions)), None)
        if flag is None:
            doubtful = True
        elif _may_stand_alone(flag, actions):
            values += [following] if following.lower() in SPOT_WORDS else []
        elif actions[flag].nargs != 0:
            values.append(following)
    return values, doubtful


def _of_argparse(message: str, actions: Actions, *, program: str) -> InputProblem:
    """Return a refusal of argparse as a mistake that names the option and its value."""
    refusal = _REFUSAL.fullmatch(message)
    if refusal is None:
        return InputProblem(field="command line", value=program, problem=f"cannot be read: {message}")
    flag, reason = refusal["flag"], refusal["reason"]
    if reason.startswith("expected"):
        return InputProblem(field=flag, value="", problem=_IS_MISSING)
    bad = _BAD_VALUE.fullmatch(reason)
    action = actions.get(flag)
    if bad is None or action is None:
        return InputProblem(field=flag, value="", problem=f"cannot be read: {reason}")
    if action.choices:
        choices = [str(choice) for choice in action.choices]
        near = similar(bad["value"], choices)
        return InputProblem(field=flag, value=bad["value"], problem=f"is none of {', '.join(choices)}", near=near)
    form = "a number" if action.type in (int, float) else str(action.metavar or "a value")
    return InputProblem(field=flag, value=bad["value"], problem=f"is not {form}")


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _alone(arguments: Sequence[str], actions: Actions) -> list[str]:
    """`--spot x train`: `x` is the example, not a value of --spot."""
    fixed = []
    for at, word in enumerate(arguments):
        following = arguments[at + 1].lower() if at + 1 < len(arguments) else ""
        is_alone = _may_stand_alone(word, actions) and following not in SPOT_WORDS
        fixed.append(f"{word}=true" if is_alone else word)
    return fixed


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1


def _is_known(word: str, actions: Actions) -> bool:
    return word.partition("=")[0] in actions


def _blank(word: str) -> bool:
    return not word.strip()
