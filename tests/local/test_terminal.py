"""The job's lines go to stdout untouched, ours to stderr, and nothing that happens to either ends a run."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from cvl_ci.local.console.cost_meter import CostMeter
from cvl_ci.local.console.status_line import StatusLine, clip
from cvl_ci.local.console.terminal import ACTIVITIES, Terminal
from cvl_ci.model.outcome import Phase
from cvl_ci.ports import RunReporter
from cvl_ci.result.masks import Masks
from cvl_ci.result.summary import lines
from tests import golden
from tests.github.runner import Runner
from tests.result.outcomes import NOT_PROVED_GONE, SUCCEEDED
from tests.result.test_command_shield import HOSTILE
from tests.support.fakes import spending

MESSAGES = golden.Messages(__name__)


@dataclass
class StoppedClock:
    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(
    *, err: io.StringIO | None = None, colour: bool = True, width: int = 80
) -> tuple[Terminal, StoppedClock]:
    clock = StoppedClock()
    return Terminal(out=io.StringIO(), err=err or io.StringIO(), clock=clock, width=width, colour=colour), clock


def error_text(terminal: Terminal) -> str:
    return written(terminal._err._stream)


def written(stream: object) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_it_is_a_workflow() -> None:
    reporter: RunReporter = a_terminal()[0]
    reporter.progress("")


def test_the_jobs_lines_alone_go_to_stdout() -> None:
    terminal, _ = a_terminal()
    terminal.show_phase(Phase.RUNNING)
    terminal.show_job_line("epoch 1  loss 0.5")
    terminal.warning("careful")
    terminal.show_outcome(SUCCEEDED)
    assert written(terminal._out._stream) == "epoch 1  loss 0.5\n"
    assert "epoch" not in error_text(terminal).replace("epochs", "")


def test_in_a_log_each_line_of_ours_begins_with_the_time() -> None:
    terminal, clock = a_terminal()
    terminal.show_phase(Phase.PROVISIONING)
    clock.sleep(75)
    terminal.show_price(spending(3.6, billed=True))
    clock.sleep(10)
    terminal.show_phase(Phase.RUNNING)
    MESSAGES.check("lines of a log", error_text(terminal))


def test_in_a_log_progress_is_told_once_however_often_it_is_said() -> None:
    terminal, _ = a_terminal()
    for text in ("asking aws/us-east-1", "asking aws/us-east-1", "", "booting"):
        terminal.progress(text)
    assert error_text(terminal).splitlines() == ["[0:00] asking aws/us-east-1", "[0:00] booting"]


def test_on_a_terminal_phases_are_headers_with_time_and_money() -> None:
    terminal, clock = a_terminal(err=Tty(), colour=False, width=60)
    terminal.show_price(spending(36, billed=True))
    clock.sleep(100)
    terminal.show_phase(Phase.RUNNING)
    terminal.close()
    header = error_text(terminal).splitlines()[1]
    assert header.startswith("── running · 1:40 · $1.00 ──")
    assert len(header) == 60


def test_on_the_sandbox_the_money_is_called_emulated() -> None:
    terminal, clock = a_terminal()
    terminal.show_price(spending(3.6, billed=False))
    clock.sleep(10)
    terminal.notice("done")
    MESSAGES.check("emulated money", error_text(terminal))


def test_without_colour_our_words_hold_no_escape_and_the_jobs_colours_stay() -> None:
    terminal, _ = a_terminal(err=Tty(), colour=False)
    terminal.warning("careful")
    terminal.show_outcome(NOT_PROVED_GONE)
    assert "\x1b" not in error_text(terminal)
    terminal.show_job_line("\x1b[31mred\x1b[0m")
    assert written(terminal._out._stream) == "\x1b[31mred\x1b[0m\n"


def test_a_colour_the_job_left_on_ends_before_our_next_line() -> None:
    terminal, _ = a_terminal(err=Tty())
    terminal.show_job_line("\x1b[31mred")
    terminal.notice("ours")
    assert error_text(terminal) == "\x1b[0mours\n"


def test_a_warning_of_several_lines_stays_together_and_cannot_steer_the_terminal() -> None:
    terminal, _ = a_terminal()
    terminal.warning("one\x1b[2J\ntwo")
    assert error_text(terminal) == "[0:00] warning: one\n  two\n"


def test_it_ends_with_the_one_summary() -> None:
    terminal, _ = a_terminal()
    terminal.show_outcome(SUCCEEDED)
    assert error_text(terminal) == "\n" + "\n".join(lines(SUCCEEDED)) + "\n"


def test_every_phase_has_words() -> None:
    assert set(ACTIVITIES) == set(Phase)


def test_the_status_line_steps_aside_and_is_gone_at_the_end() -> None:
    screen: list[str] = []
    status = StatusLine(lambda: "running · 0:10", screen.append, width=80)
    status.draw()
    status.print_above(lambda: screen.append("a line\n"))
    status.draw()
    status.stop()
    status.draw()
    assert "".join(screen).replace("\r\x1b[0m\x1b[2K", "|") == "|running · 0:10|a line\n|running · 0:10|"


@pytest.mark.parametrize(
    ("text", "output"),
    [("short", "short"), ("exactly 10", "exactly 10"), ("more than 10", "more than…"), ("日本語日本語", "日本語日…")],
)
def test_a_status_is_cut_to_its_width(text: str, output: str) -> None:
    assert clip(text, 10) == output


def test_the_meter_adds_up_over_changing_prices() -> None:
    meter = CostMeter()
    assert meter.so_far(5) == ""
    assert meter.change(3.6, billed=True, now=0)
    assert not meter.change(3.6, billed=True, now=500)
    assert meter.change(7.2, billed=True, now=1000)
    assert meter.usd(2000) == pytest.approx(3.0)


def test_a_table_above_the_status_line_is_erased_with_it() -> None:
    """Each line is cut to the width: a line that wraps would leave its rest on the screen."""
    screen: list[str] = []
    rows = ["a" * 100, "b"]
    status = StatusLine(lambda: "\n".join([*rows, "running"]), screen.append, width=20)
    status.draw()
    assert screen[-1].split("\n") == ["\r\x1b[0m\x1b[2K" + "a" * 18 + "…", "b", "running"]
    rows.pop()
    status.draw()
    assert screen[-1].startswith("\r\x1b[0m\x1b[2K" + "\x1b[1A\x1b[2K" * 2 + "a"), "all three lines go"
    status.print_above(lambda: screen.append("a line of a job\n"))
    assert screen[-2:] == ["\r\x1b[0m\x1b[2K\x1b[1A\x1b[2K", "a line of a job\n"]


def test_a_table_is_drawn_on_a_terminal_alone_and_shows_no_secret() -> None:
    masks = Masks()
    masks.add("hf_0123456789")
    log = Terminal(out=io.StringIO(), err=io.StringIO(), clock=StoppedClock(), masks=masks)
    assert not log.draw_above(lambda: ["never"])
    screen = Tty()
    terminal = Terminal(out=io.StringIO(), err=screen, clock=StoppedClock(), masks=masks)
    assert terminal.draw_above(lambda: ["job hf_0123456789\x1b[2J"])
    terminal._status.draw()
    terminal.close()
    assert "job ***" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()


def test_a_reader_that_goes_away_ends_the_lines_and_not_the_run() -> None:
    program = """
        import sys
        from cvl_ci.local.clock import SystemClock
        from cvl_ci.local.console.terminal import Terminal
        terminal = Terminal(out=sys.stdout, err=sys.stderr, clock=SystemClock())
        for number in range(20000):
            terminal.show_job_line(f"line {number}")
        terminal.notice("the run went on")
    """
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", '"$0" -c "$1" | head -n 1', sys.executable, textwrap.dedent(program)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "line 0\n")
    assert result.stderr.count("The reader of the job's lines has gone") == 1
    assert "the run went on" in result.stderr


def test_a_stream_that_cannot_say_a_character_shows_its_number() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    terminal = Terminal(out=out, err=io.StringIO(), clock=StoppedClock())
    terminal.show_job_line("loss ↓ \udcff")
    out.seek(0)
    assert out.read() == "loss \\u2193 \\ufffd\n"


def test_on_a_real_terminal_the_status_line_ticks_between_the_jobs_lines() -> None:
    program = """
        import sys, time
        from cvl_ci.local.clock import SystemClock
        from cvl_ci.local.console.terminal import Terminal
        from cvl_ci.model.outcome import Phase
        terminal = Terminal(out=sys.stdout, err=sys.stderr, clock=SystemClock(), width=60)
        terminal.show_phase(Phase.RUNNING)
        time.sleep(1.3)
        terminal.show_job_line("a line of the job\\x1b[2J")
        terminal.close()
    """
    screen = on_a_pty([sys.executable, "-c", textwrap.dedent(program)])
    assert re.search(r"\r\x1b\[0m\x1b\[2Krunning · 0:01", screen)
    assert "\r\x1b[0m\x1b[2Ka line of the job\r\n" in screen
    assert "\x1b[2J" not in screen


def on_a_pty(command: list[str]) -> str:
    """What a person's terminal is sent by this program."""
    ours, its = pty.openpty()
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, close_fds=True):
        os.close(its)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    return b"".join(parts).decode()


def test_every_line_of_the_job_is_kept_in_a_file_without_its_secrets(tmp_path: Path) -> None:
    masks = Masks()
    masks.add("hf_secret")
    err, path = io.StringIO(), tmp_path / "out" / "cvl-1.log"
    terminal = Terminal(out=io.StringIO(), err=err, clock=StoppedClock(), masks=masks)
    terminal.keep_in(path)
    assert not path.parent.exists(), "a job that printed nothing leaves nothing"
    for line in ("token hf_secret", "50%\r100%", "\x1b[2Jcleared"):
        terminal.show_job_line(line)
    terminal.close()
    assert path.read_bytes() == b"token ***\n50%\r100%\n\x1b[2Jcleared\n"
    assert err.getvalue().count(str(path)) == 1


def test_a_log_that_cannot_be_kept_is_said_once_and_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    terminal, _ = a_terminal()
    terminal.keep_in(tmp_path / "out" / "cvl-1.log")
    for line in ("one", "two"):
        terminal.show_job_line(line)
    terminal.close()
    assert error_text(terminal).count("cannot be written to") == 1


SECRET = "hunter-2/with+signs&more"


def test_a_terminal_shows_no_secret_whoever_says_it() -> None:
    out, err = io.StringIO(), io.StringIO()
    masks = Masks()
    masks.add(SECRET)
    terminal = Terminal(out=out, err=err, clock=StoppedClock(), masks=masks)
    text = f"a {SECRET} b {quote(SECRET)} c \x1b[31mhunter-2\x1b[0m/with+signs&more"
    for tell in (terminal.show_job_line, terminal.notice, terminal.warning, terminal.progress):
        tell(text)
    terminal.show_outcome(
        replace(SUCCEEDED, work=replace(SUCCEEDED.work, title=text), reason=text, advice=text, warnings=(text,))
    )
    output = out.getvalue() + err.getvalue()
    assert output.count("***") >= 12
    assert "hunter-2" not in output


@pytest.mark.parametrize("line", HOSTILE)
def test_where_commands_are_obeyed_no_line_of_a_machine_is_one(line: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out=out, err=err, clock=StoppedClock(), obeyed=True)
    for tell in (terminal.show_job_line, terminal.notice, terminal.warning, terminal.progress):
        tell(line)
        tell(f"first\n{line}")
    terminal.show_outcome(
        replace(
            NOT_PROVED_GONE, work=replace(NOT_PROVED_GONE.work, title=line), reason=line, advice=line, warnings=(line,)
        )
    )
    for stream in (out, err):
        assert Runner().read(stream.getvalue()).obeyed == []
        assert Runner().read(stream.getvalue()).stopped_by == ""
    assert out.getvalue().count("\n") == 2


@pytest.mark.parametrize("line", ["std::vector<int>", "a ## b", "x :: y", "Epoch 1: loss 0.5", "\x1b[32mok\x1b[0m"])
def test_where_commands_are_obeyed_other_lines_stay_as_they_are(line: str) -> None:
    out = io.StringIO()
    Terminal(out=out, err=io.StringIO(), clock=StoppedClock(), obeyed=True).show_job_line(line)
    assert out.getvalue() == f"{line}\n"
