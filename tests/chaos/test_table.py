"""The table of killed runs says what the records say, leaks and failures included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests import golden
from tests.chaos import run_records
from tests.chaos.run_records import Record
from tests.chaos.table import table

MESSAGES = golden.Messages(__name__)

CAUGHT = Record(
    seed=7, number=3, commit="0123456789", at="2026-11-27T22:00:00Z", door="step", phase="running", kill="SIGKILL",
    then="post", mishap="", delay=1.5, cut=(1, 4), caught=2, seconds=9.4, release_seconds=12.6, left=(),
)  # fmt: skip


def test_a_line_of_the_table_has_its_runs_their_median_and_their_maximum() -> None:
    slower = replace(CAUGHT, number=4, seconds=30.0, release_seconds=40.0)
    told = table([CAUGHT, slower, replace(CAUGHT, number=5, seconds=10.0)])
    assert "Our leak rate: 0 of 3 killed runs" in told
    assert "| post or `down` | 3 | 0, 0, 3, 0, 0, 0, 0, 0, 0, 0 | 10 | 30 |\n" in told
    assert "| after another kill | 3 | 13 | 40 |\n" in told
    assert "after a cancellation" not in told
    assert "Runs with a fault" not in told


def test_a_leak_is_in_the_rate_and_is_told_with_all_that_repeats_it() -> None:
    leaked = replace(CAUGHT, number=9, caught=None, left=("us-east-1 i-0f (running)",))
    told = table([CAUGHT, leaked])
    assert "Our leak rate: 1 of 2 killed runs" in told
    MESSAGES.check("a leak", golden.line(told, "- seed 7, run 9"))


def test_a_failure_that_was_mended_is_told_still_and_since_when() -> None:
    failed = replace(CAUGHT, said="line 2 ended with 79")
    mended = replace(CAUGHT, commit="9876543210", at="2026-11-27T23:00:00Z")
    MESSAGES.check("a mended failure", golden.line(table([failed, mended]), "correct since"))
    assert "since" not in table([replace(mended, at="2026-11-27T21:00:00Z"), failed])


def test_a_run_that_never_came_to_its_kill_proves_nothing_and_is_told() -> None:
    lame = replace(CAUGHT, number=9, caught=None, seconds=0.0, said="never came to running: it hung")
    told = table([CAUGHT, lame])
    assert "Our leak rate: 0 of 1 killed runs" in told
    MESSAGES.check("not counted", golden.line(told, "are not counted"))


def test_what_ended_wrongly_without_a_leak_is_told_too() -> None:
    assert "line 2 ended with 79" in table([replace(CAUGHT, said="line 2 ended with 79: NOT PROVED")])


def test_records_are_read_as_they_were_written_and_a_run_done_again_counts_once(tmp_path: Path) -> None:
    again = replace(CAUGHT, seconds=8.0)
    (tmp_path / "a.jsonl").write_text(CAUGHT.line() + replace(CAUGHT, number=4).line())
    (tmp_path / "b.jsonl").write_text(again.line())
    assert run_records.read([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]) == [again, replace(CAUGHT, number=4)]
