"""The table of a run's stages: each pair leads on, every way ends with the release, and new machines follow a proof."""

from __future__ import annotations

from cvl_ci.commands.run.transitions import FIRST, LAST, TRANSITIONS, Stage, StageEnd, next_stage


def test_every_stage_but_the_last_is_reached_and_left() -> None:
    assert {*TRANSITIONS.values(), FIRST, Stage.SUBMIT} == set(Stage), "a further job begins with SUBMIT"
    assert {stage for stage, _ in TRANSITIONS} == set(Stage) - {LAST}


def test_from_every_stage_the_release_is_reached() -> None:
    reached = {LAST}
    while more := {stage for (stage, _), then in TRANSITIONS.items() if then in reached} - reached:
        reached |= more
    assert reached == set(Stage)


def test_machines_are_launched_at_first_and_after_the_proof_that_the_lost_ones_are_gone() -> None:
    assert FIRST is Stage.LAUNCH
    assert [pair for pair, then in TRANSITIONS.items() if then is Stage.LAUNCH] == [(Stage.CLEAR, StageEnd.GONE)]


def test_an_error_or_a_person_leads_to_the_release_and_at_most_to_a_rescue_before_it() -> None:
    for stage in set(Stage) - {LAST}:
        assert next_stage(stage, StageEnd.FAILED) is LAST
        assert next_stage(stage, StageEnd.STOPPED) in {LAST, Stage.RESCUE}


def test_a_pair_that_the_table_lacks_goes_to_the_release() -> None:
    assert next_stage(Stage.FETCH, StageEnd.LOST) is LAST
