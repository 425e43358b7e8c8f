"""The inputs of `verb: matrix`, `report` and `history`, typed by name, as the command line's options are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cvl_ci.errors import Mistake
from cvl_ci.inputs import action_variables, expected_legs, parsers, verb_fields
from cvl_ci.inputs.matrix_fields import MANY_INPUTS, TAKES
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import near

SHARED = {"matrix": ("spot", "max_runtime", "max_cost", "repeat", "files"), "report": ("fail_on_regression",)}
"""Inputs of a run that these verbs take too: of a matrix each leg has them, but for how often it is repeated."""
HISTORY = ("artifacts", "branch", "none")


def read(environment: Mapping[str, str], verb: str) -> tuple[dict[str, Any], list[Mistake]]:
    """What was not given is not there, but for `history`. And all that is wrong."""
    given = {one.name: action_variables.value(environment, one.name) for one in MANY_INPUTS}
    defaults = {one.name: one.default for one in MANY_INPUTS}
    readers = _readers(verb)
    mistakes = [
        Mistake(field=name, value=text, problem=f"is no input of `verb: {verb}`")
        for name, text in given.items()
        if text and text != defaults[name] and name not in TAKES[verb]
    ]
    wanted = {name: given[name] or defaults[name] for name in sorted(TAKES[verb])}
    wanted |= {name: action_variables.value(environment, name) for name in SHARED.get(verb, ())}
    found: dict[str, Any] = {}
    for name, text in wanted.items():
        if not text:
            continue
        try:
            found[name] = readers[name](text)
        except Wrong as wrong:
            mistakes.append(Mistake(field=name, value=text, problem=wrong.problem, near=wrong.near))
    return found, mistakes


def _readers(verb: str) -> Mapping[str, Callable[[Any], object]]:
    """Those of the options of the same name, a line for a comma; and what only the action is asked."""
    options = {field.name: field.read for field in verb_fields.VERBS[verb]}
    lists = {field.name: _lines(field.read) for field in verb_fields.VERBS[verb] if field.repeatable}
    own = {
        "history": _history,
        "baseline_workflow": parsers.text,
        "expected": expected_legs.read,
        "issue": parsers.flag,
    }
    return {**options, **lists, "branch": parsers.text, "remote": parsers.text, **own}


def _lines(reader: Callable[[object], object]) -> Callable[[object], object]:
    return lambda text: reader([line for line in str(text).splitlines() if line.strip()])


def _history(text: object) -> str:
    word = str(text)
    if word not in HISTORY:
        raise Wrong(f"is none of {', '.join(HISTORY)}", near=near(word, HISTORY))
    return word
