"""SkyPilot's stream, told apart; the lines are as SkyPilot 0.14.1 printed them."""

from __future__ import annotations

import pytest

from cvl_ci.engine.job_log import JobLog, progress
from cvl_ci.engine.task.script import JOB_BEGINS, LOG_ENDS, SETUP_BEGINS
from cvl_ci.model.outcome import Phase

RUN = "\x1b[36m(cvl-try-1, pid=691)\x1b[0m "
SETUP = "\x1b[36m(setup pid=650)\x1b[0m "


def test_one_nodes_lines_come_as_the_job_printed_them() -> None:
    log = JobLog(num_nodes=1)
    assert log.read(f"{RUN}epoch 1/30  train_loss 1.5615") == (Phase.RUNNING, "epoch 1/30  train_loss 1.5615", None)
    assert log.read(f"{RUN}  indented,\tand (odd, pid=3) \x1b[31mred\x1b[0m") == (
        None,
        "  indented,\tand (odd, pid=3) \x1b[31mred\x1b[0m",
        None,
    )


def test_setup_and_run_are_phases_and_setup_does_not_begin_again() -> None:
    log = JobLog(num_nodes=1)
    assert log.read(f"{SETUP}building")[0] is Phase.SETUP
    assert log.read(f"{SETUP}built")[0] is None
    assert log.read(f"{RUN}go")[0] is Phase.RUNNING
    assert log.read(f"{SETUP}late")[0] is None


def test_a_job_that_prints_nothing_has_begun_all_the_same() -> None:
    log = JobLog(num_nodes=1)
    assert log.read(SETUP + SETUP_BEGINS) == (Phase.SETUP, None, None)
    assert log.read(RUN + JOB_BEGINS) == (Phase.RUNNING, None, None)


def test_a_further_job_has_its_setup_in_the_job_itself() -> None:
    log = JobLog(num_nodes=1)
    assert log.read(RUN + SETUP_BEGINS) == (Phase.SETUP, None, None)
    assert log.read(f"{RUN}building") == (None, "building", None)
    assert log.read(RUN + JOB_BEGINS) == (Phase.RUNNING, None, None)
    assert log.read(f"{RUN}go") == (None, "go", None)


def test_ranks_are_told_apart() -> None:
    log = JobLog(num_nodes=2)
    head = "\x1b[36m(head, rank=0, pid=700)\x1b[0m from the head"
    worker = "\x1b[36m(worker1, rank=1, pid=700, ip=172.31.0.5)\x1b[0m from the worker"
    assert log.read(head)[1] == "(rank 0) from the head"
    assert log.read(worker)[1] == "(rank 1) from the worker"


def test_what_skypilot_says_around_the_job_is_progress() -> None:
    log = JobLog(num_nodes=1)
    hint = "\x1b[2m(Ctrl-C to exit log streaming; job will not be killed)\x1b[0m"
    said = f"\x1b[2m└── \x1b[0mJob started. Streaming logs... {hint}"
    assert log.read(said) == (None, None, "Job started. Streaming logs...")
    assert log.read("\x1b[0m\x1b[32m✓ Job finished (status: SUCCEEDED).\x1b[0m\x1b[0m") == (
        None,
        None,
        "Job finished (status: SUCCEEDED).",
    )


def test_a_stream_that_broke_is_taken_up_where_it_was() -> None:
    log = JobLog(num_nodes=1)
    for text in ("one", "two"):
        log.read(RUN + text)
    log.begin_again()
    printed = [log.read(RUN + text)[1] for text in ("one", "two", "three")]
    assert printed == [None, None, "three"]


def test_a_repetition_that_breaks_too_prints_no_line_again() -> None:
    log = JobLog(num_nodes=1)
    for text in ("one", "two", "three"):
        log.read(RUN + text)
    log.begin_again()
    log.read(RUN + "one")
    log.begin_again()
    assert [log.read(RUN + text)[1] for text in ("one", "two", "three", "four")] == [None, None, None, "four"]


def test_a_line_through_a_terminal_is_the_same_line() -> None:
    log = JobLog(num_nodes=1)
    assert log.read(f"{RUN}{JOB_BEGINS}\r") == (Phase.RUNNING, None, None)
    assert log.read(f"{RUN}hello\r") == (None, "hello", None)
    assert log.read(f"{LOG_ENDS}\r") == (None, None, None)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            '<sky-payload>"<rich_update>[bold cyan]Checking infra choices...[/]</rich_update>"</sky-payload>',
            "Checking infra choices...",
        ),
        ('<sky-payload>"<rich_exit></rich_exit>"</sky-payload>', None),
        ("<sky-payload>not json</sky-payload>", None),
        ("\x1b[?25h", None),
        ("", None),
        ("\x1b[0m⚙︎ Launching on AWS us-east-1\x1b[0m (us-east-1a).", "Launching on AWS us-east-1 (us-east-1a)."),
        ("✓ Cluster launched: x.  View logs: sky logs --provision x", "Cluster launched: x."),
    ],
)
def test_progress_is_one_plain_line(line: str, text: str | None) -> None:
    assert progress(line) == text
