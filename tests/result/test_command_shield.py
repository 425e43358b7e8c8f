"""Whatever a job prints, the runner obeys none of it, and a flood of it drowns neither the log nor the step."""

from __future__ import annotations

import random

import pytest

from cvl_ci.result.command_shield import BURST_LINES, LONGEST_LINE, Shield
from tests import golden
from tests.github.runner import Runner
from tests.support.fakes import FakeClock

MESSAGES = golden.Messages(__name__)

HOSTILE = (
    "::set-output name=x::y",
    "::save-state name=lease::cvl-other",
    "\u00a0::add-mask::e",
    "\u2003\t ::error::no",
    "::SET-ENV name=PATH::/tmp",
    "safe so far ##[set-env name=A;]b",
    "##[add-path]/tmp/evil",
    "##[group]folded",
    "50%\r::stop-commands::x\r",
    "first\n::error::second",
    "\x1b[31m::error::coloured",
    "\x1b]0;t\x07::warning::titled",
    "\x1b[2K\x1b[1G::notice::redrawn",
    "::echo::on\r\n::endgroup::",
    "#\x00#[error]joined when the controls are gone",
    ":\u202a:error::joined too",
    "##\x1b[1K[debug]joined by a sequence",
    "::00000000000000000000000000000000::",
    "\ufeff::debug::bom",
    "::stop-commands::pause-logging",
)


class Step:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.written: list[str] = []
        self.shield = Shield(self.written.append, now=self.clock.monotonic, kept_in="job.log")

    def log(self) -> list[str]:
        return [line for line in self.runner().log if line and "::" not in line]

    def runner(self) -> Runner:
        return Runner().read("".join(self.written))


@pytest.mark.parametrize("line", HOSTILE)
def test_a_hostile_line_is_read_and_not_obeyed(line: str) -> None:
    step = Step()
    step.shield.line(line)
    step.shield.close()
    assert step.runner().obeyed == []
    assert step.runner().stopped_by == ""


def test_the_runner_of_these_tests_would_obey_them() -> None:
    assert len(Runner().read("\n".join(HOSTILE[:9])).obeyed) >= 6


def test_the_runner_obeys_us_again_after_each_block() -> None:
    step = Step()
    for line in HOSTILE:
        step.shield.line(line)
        step.shield.close()
        step.written.append("::notice::ours\n")
    assert step.runner().obeyed == [("notice", {}, "ours")] * len(HOSTILE)


def test_every_block_has_a_token_of_its_own_that_no_line_in_it_held() -> None:
    step = Step()
    for _ in range(20):
        step.shield.line("x")
        step.shield.close()
    tokens = {text for text in step.written if text.startswith("::stop-commands::")}
    assert len(tokens) == 20


def test_a_job_that_prints_the_token_of_the_last_block_does_not_open_the_next() -> None:
    step = Step()
    step.shield.line("x")
    token = step.shield.token
    step.shield.close()
    step.shield.line(f"::{token}::")
    step.shield.line("::error::out")
    step.shield.close()
    assert step.runner().obeyed == []


def test_no_mixture_of_tricks_is_obeyed_or_makes_a_line_of_its_own() -> None:
    dice = random.Random(7)
    pieces = [
        "::",
        "##[",
        "]",
        "error",
        "set-output name=a",
        "\r",
        "\n",
        "\u00a0",
        "\x1b[0m",
        "\x1b]",
        "\x07",
        "\x00",
        "#",
    ]
    step = Step()
    for _ in range(1_000):
        step.shield.line("".join(dice.choice(pieces) for _ in range(dice.randint(1, 9))))
    step.shield.close()
    assert step.runner().obeyed == []
    assert "".join(step.written).count("\n") == len(step.written)
    assert "\r" not in "".join(step.written)
    assert "##[" not in "".join(step.written)


def test_a_line_is_shown_as_it_is_and_with_its_colours() -> None:
    step = Step()
    step.shield.line("\x1b[32mepoch 1\x1b[0m: loss ½")
    step.shield.close()
    assert step.log() == ["\x1b[32mepoch 1\x1b[0m: loss ½"]


def test_a_progress_bar_of_carriage_returns_shows_its_last_state() -> None:
    step = Step()
    step.shield.line("\r  1%\r 50%\r100% done")
    step.shield.close()
    assert step.log() == ["100% done"]


def test_a_progress_bar_of_many_lines_shows_its_first_and_last_state_and_one_now_and_then() -> None:
    step = Step()
    for percent in range(101):
        step.shield.line(
            f"{percent:3}%|{'█' * (percent // 10):10}| {percent}/100 [00:{percent // 2:02}<00:10, 3.1it/s]"
        )
        step.clock.sleep(0.2)
    step.shield.line("done")
    step.shield.close()
    assert len(step.log()) < 8
    assert step.log()[0].startswith("  0%")
    assert step.log()[-2].startswith("100%")
    assert step.log()[-1] == "done"


def test_equal_lines_that_are_no_progress_are_all_shown() -> None:
    step = Step()
    for _ in range(5):
        step.shield.line("step 1 loss 0.5")
    step.shield.close()
    assert len(step.log()) == 5


def test_a_flood_is_cut_and_counted_exactly() -> None:
    step = Step()
    for number in range(100_000):
        step.shield.line(f"line {number}")
        step.clock.sleep(0.000_01)
    step.shield.close()
    log = step.log()
    assert len(log) < BURST_LINES + 100
    left_out = sum(int(line.split()[1]) for line in log if "left out here" in line)
    assert left_out + sum(line.startswith("line ") for line in log) == 100_000
    assert "all of them in job.log" in log[-1]


def test_after_a_flood_lines_are_shown_again() -> None:
    step = Step()
    for number in range(BURST_LINES + 500):
        step.shield.line(f"line {number}")
    step.clock.sleep(60)
    step.shield.line("the end")
    step.shield.close()
    MESSAGES.check("a flood", step.log()[-2:])


def test_a_slow_job_is_never_cut() -> None:
    step = Step()
    for number in range(10_000):
        step.shield.line(f"line {number}")
        step.clock.sleep(0.025)
    step.shield.close()
    assert len(step.log()) == 10_000


def test_a_line_of_a_megabyte_is_cut() -> None:
    step = Step()
    step.shield.line("x" * 1_000_000)
    step.shield.close()
    assert len(step.log()[0]) < LONGEST_LINE + 100
    assert "996000 characters more" in step.log()[0]
