"""The schedule: the same for the same seed, whole in each lap, and each line of the promise tried alone."""

from __future__ import annotations

from tests.chaos.mishaps import MISHAPS
from tests.chaos.scenes import (
    AGAIN,
    COLLECT,
    COLLECTING,
    LASTS,
    OF_DETACHED_RUNS,
    OF_WARM_MACHINES,
    PHASES,
    QUEUED,
    Scene,
    drawn,
    table,
)


def test_a_seed_and_a_number_are_one_run_and_another_seed_is_another_order() -> None:
    first = [drawn(1, number) for number in range(40)]
    assert first == [drawn(1, number) for number in range(40)]
    assert [run.scene for run in first] != [drawn(2, number).scene for number in range(40)]


def test_each_lap_of_a_schedule_holds_the_whole_table() -> None:
    scenes = table()
    for lap in (0, 1):
        runs = [drawn(3, lap * len(scenes) + place) for place in range(len(scenes))]
        assert sorted(map(repr, (run.scene for run in runs))) == sorted(map(repr, scenes))
        assert all(0 <= run.delay <= LASTS[run.scene.phase] for run in runs)


def test_every_phase_meets_every_kill_and_every_mishap_is_met() -> None:
    scenes = table()
    kills = {"SIGINT", "SIGTERM", "SIGKILL", "runner-lost", "frozen"}
    assert {(scene.phase, scene.kill) for scene in scenes} >= {(phase, kill) for phase in PHASES for kill in kills}
    assert {scene.mishap for scene in scenes} == set(MISHAPS)


def test_a_detached_run_is_killed_at_its_handover_and_in_its_collection_and_another_process_collects() -> None:
    scenes = [scene for scene in table() if scene.phase in OF_DETACHED_RUNS]
    for phase in OF_DETACHED_RUNS:
        kills = {scene.kill for scene in scenes if scene.phase == phase}
        assert kills == {"SIGINT", "SIGTERM", "SIGKILL", "runner-lost", "frozen"}
    alone = [scene for scene in scenes if scene.phase == COLLECTING and scene.blind]
    assert alone and all((scene.cut, scene.first) == ((1, 2, 3, 4), COLLECT) for scene in alone)


def test_a_warm_machine_is_killed_by_both_doors_and_a_killed_queue_is_run_again() -> None:
    scenes = [scene for scene in table() if scene.phase in OF_WARM_MACHINES]
    for phase in OF_WARM_MACHINES:
        of_phase = [scene for scene in scenes if scene.phase == phase]
        for door in ("terminal", "step"):
            kills = {scene.kill for scene in of_phase if scene.door == door}
            assert kills == {"SIGINT", "SIGTERM", "SIGKILL", "runner-lost", "frozen"}
        assert {1, 2, 3, 4} <= {scene.first for scene in of_phase}
    again = [scene for scene in scenes if scene.then == "again"]
    assert {(scene.phase, scene.first) for scene in again} == {(QUEUED, AGAIN)}
    assert any(scene.cut == (1, 2, 3, 4) for scene in again), "then the second queue alone ends it"


def test_every_line_of_the_promise_is_left_alone_with_the_other_three_cut() -> None:
    assert {(1, 2, 3), (1, 2, 4), (1, 3, 4), (2, 3, 4)} <= {scene.cut for scene in table()}


def test_a_cancelled_step_hands_over_and_a_cancelled_terminal_does_not() -> None:
    step = Scene(door="step", phase="running", kill="SIGINT", then="post")
    terminal = Scene(door="terminal", phase="running", kill="SIGINT")
    assert (step.cut, step.first) == ((1, 4), 2)
    assert (terminal.cut, terminal.first) == ((2, 4), 1)
