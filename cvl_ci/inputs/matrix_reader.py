"""The inputs of the verbs of many runs and of `verb: models`, typed by name, as the command line's options are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvl_ci.errors import InputProblem
from cvl_ci.inputs import action_variables
from cvl_ci.inputs.option import EntryPoint, InputOption
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.table import DEPLOY_OPTIONS, MATRIX_OPTIONS, MODEL_OPTIONS, QUEUE_OPTIONS, verb_options
from cvl_ci.model.secret import Secret

_PEM = "-----BEGIN"


def read(environment: Mapping[str, str], verb: str) -> tuple[dict[str, Any], list[InputProblem]]:
    """Return the typed inputs of a verb by name, absent ones left out, and everything that is wrong."""
    options = verb_options(verb, EntryPoint.ACTION)
    names = {option.name for option in options}
    mistakes = [
        InputProblem(field=option.name, value=_display(option, text), problem=f"is not an input of `verb: {verb}`")
        for option in (*MATRIX_OPTIONS, *MODEL_OPTIONS, *QUEUE_OPTIONS, *DEPLOY_OPTIONS)
        if EntryPoint.ACTION in option.entry_points
        and option.name not in names
        and (text := action_variables.value(environment, option.name)) not in {"", option.action_default}
    ]
    values: dict[str, Any] = {}
    for option in options:
        text = action_variables.value(environment, option.name) or option.action_default
        if not text:
            continue
        try:
            values[option.name] = option.read(text)
        except Wrong as wrong:
            mistakes.append(
                InputProblem(field=option.name, value=_display(option, text), problem=wrong.problem, near=wrong.near)
            )
    return values, mistakes


def _display(option: InputOption, text: str) -> str:
    """Return the text of an input for a message: stars for a secret, and for each text with PEM in it."""
    if _PEM in text:
        return str(Secret(text))
    try:
        value = option.read(text)
    except Wrong:
        return text
    return str(value) if isinstance(value, Secret) else text
