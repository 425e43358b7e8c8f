"""The result of a run is an exit code that carries its outcome."""

from __future__ import annotations

import copy
import pickle
import sys
from dataclasses import replace

import pytest

from cvl_ci.model.outcome import Ending
from cvl_ci.result.run_result import RunResult
from tests import golden
from tests.result.outcomes import EVERY, SUCCEEDED

MESSAGES = golden.Messages(__name__)

FAILED = replace(SUCCEEDED, ending=Ending.FAILED, exit_code=7)


@pytest.mark.parametrize("outcome", EVERY.values(), ids=EVERY)
def test_callers_of_the_earlier_runner_get_their_exit_code(outcome: object) -> None:
    from cvl_ci.model.outcome import Outcome

    assert isinstance(outcome, Outcome)
    result = RunResult(outcome)
    assert result == outcome.exit_code == result.exit_code
    assert isinstance(result, int)
    assert hash(result) == hash(outcome.exit_code)
    assert f"{result}" == str(result) == str(outcome.exit_code)
    assert bool(result) is (outcome.exit_code != 0)
    assert result.succeeded is (outcome.exit_code == 0)
    with pytest.raises(SystemExit) as raised:
        sys.exit(result)
    assert raised.value.code == outcome.exit_code


def test_it_carries_every_fact() -> None:
    result = RunResult(FAILED)
    assert result.outcome is FAILED
    assert result.ending is Ending.FAILED
    assert (result.metrics, result.files) == (FAILED.measurements.metrics, FAILED.files.fetched)
    assert (result.cost, result.release, result.launch) == (FAILED.cost, FAILED.release, FAILED.machines.launch)
    assert result.cluster == FAILED.machines.cluster


def test_two_runs_with_one_exit_code_are_still_two_outcomes() -> None:
    first, second = RunResult(SUCCEEDED), RunResult(replace(SUCCEEDED, work=replace(SUCCEEDED.work, title="another")))
    assert first == second
    assert first.outcome != second.outcome


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_keeps_the_outcome(again: object) -> None:
    assert callable(again)
    result = again(RunResult(FAILED))
    assert (type(result), int(result), result.outcome) == (RunResult, 7, FAILED)


def test_a_notebook_shows_ending_cost_metrics_files_and_proof() -> None:
    page = RunResult(SUCCEEDED)._repr_html_()
    for part in ("Succeeded: digits-sgd train", "$0.0019", "accuracy", "gone, proved at", "#1a7f37"):
        assert part in page
    assert "#cf222e" in RunResult(FAILED)._repr_html_()


@pytest.mark.parametrize("outcome", EVERY.values(), ids=EVERY)
def test_no_word_of_a_machine_becomes_html(outcome: object) -> None:
    from cvl_ci.model.outcome import Outcome

    assert isinstance(outcome, Outcome)
    hostile = "<script>alert('x')</script>"
    page = RunResult(
        replace(
            outcome,
            work=replace(outcome.work, title=hostile),
            reason=hostile,
            measurements=replace(outcome.measurements, metrics={hostile: hostile}),
            warnings=(hostile,),
        )
    )._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_at_a_prompt_it_shows_the_code_and_the_ending() -> None:
    MESSAGES.check("at a prompt", repr(RunResult(FAILED)))
