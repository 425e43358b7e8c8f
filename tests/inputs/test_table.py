"""The one table of inputs: each input is declared once, and every view of it holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest

from cvl_ci.inputs.action_variables import leg, names, value, values, variable
from cvl_ci.inputs.credential_inputs import CREDENTIAL_INPUTS
from cvl_ci.inputs.drill_inputs import DRILL_GROUPS
from cvl_ci.inputs.matrix_inputs import MATRIX_GROUPS
from cvl_ci.inputs.option import EntryPoint
from cvl_ci.inputs.run_inputs import RUN_GROUPS
from cvl_ci.inputs.step_inputs import STEP_GROUPS, VERBS
from cvl_ci.inputs.table import OPTIONS, run_options, verb_options

GROUPS = (*RUN_GROUPS, *STEP_GROUPS, *MATRIX_GROUPS, *DRILL_GROUPS)
CLI_VERBS = ("matrix", "report", "history", "drill", "reap")


def test_an_input_is_declared_once() -> None:
    declared = Counter([option.name for option in OPTIONS] + [one.name for one in CREDENTIAL_INPUTS])
    assert {name for name, count in declared.items() if count > 1} == set()


@pytest.mark.parametrize("group", GROUPS)
def test_every_field_of_a_group_is_an_option_and_absent_by_default(group: type) -> None:
    assert all("option" in item.metadata for item in fields(group))
    assert group() == group()


@pytest.mark.parametrize("verb", CLI_VERBS)
def test_no_flag_of_a_verb_is_written_twice(verb: str) -> None:
    flags = [flag for option in verb_options(verb) if not option.is_positional for flag in option.flags]
    assert flags
    assert len(flags) == len(set(flags))


def test_every_input_of_the_action_belongs_to_a_verb_of_it() -> None:
    for option in OPTIONS:
        if EntryPoint.ACTION in option.entry_points:
            assert any(option.is_taken_by(verb, EntryPoint.ACTION) for verb in VERBS), option.name


def test_an_input_for_the_action_alone_is_no_keyword_and_no_flag() -> None:
    for option in OPTIONS:
        if option.entry_points == {EntryPoint.ACTION}:
            assert option not in run_options(EntryPoint.LIBRARY)
            assert option not in run_options(EntryPoint.CLI)
            assert not any(option in verb_options(verb) for verb in CLI_VERBS)


def test_a_name_that_no_input_has_cannot_be_read_from_the_environment() -> None:
    """A typo would read as "not given"."""
    with pytest.raises(KeyError):
        value({"INPUT_GITHUB_TOKN": "x"}, "github_tokn")
    assert all(value({variable(name): " x "}, name) == "x" for name in names())
    assert leg({variable("leg"): " x "}) == "x"
    assert values({"INPUT_MAX-COST": "3", "OTHER": "x"}) == {"max_cost": "3"}
