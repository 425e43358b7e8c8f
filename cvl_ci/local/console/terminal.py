"""Reports a run to a person at a terminal, or to a log file that a person reads later.

The job's own lines go to stdout, and nothing else does: `cvl-ci run ... > log` holds the job's log, and a pipe gets
only that. Our lines go to stderr: phases, prices, warnings and the summary at the end. The job's lines get no prefix
and no new words. Only codes that a terminal would *obey* are removed (result/sanitize.py).

On a terminal a status line shows phase, time and money. Elsewhere each of our lines begins with the time since the
start, so that a log is readable without a cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from cvl_ci.local.console.cost_meter import CostMeter
from cvl_ci.local.console.line_stream import Stream
from cvl_ci.local.console.log_file import KeptLog
from cvl_ci.local.console.status_line import StatusLine
from cvl_ci.model.launch import Launch, Spending
from cvl_ci.model.outcome import Ending, Outcome, Phase
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports import Clock
from cvl_ci.result.command_shield import defused
from cvl_ci.result.masked_lines import MaskedLines
from cvl_ci.result.masks import Masks
from cvl_ci.result.sanitize import for_terminal, plain
from cvl_ci.result.summary import lines
from cvl_ci.result.text import machine_line, proved_gone
from cvl_ci.result.units import clock_text, dollars

ACTIVITIES = {
    Phase.WAITING: "waiting for the machine",
    Phase.SANDBOX: "starting the sandbox",
    Phase.STAGING: "collecting the files",
    Phase.PROVISIONING: "getting machines",
    Phase.SETUP: "setting up",
    Phase.RUNNING: "running",
    Phase.RECOVERING: "replacing lost machines",
    Phase.FETCHING: "fetching what it wrote",
    Phase.RELEASING: "taking the machines down",
}

RED, YELLOW, GREEN, BOLD = "31", "33", "32", "1"


class Terminal:
    """The RunReporter of a terminal. `colour` False (NO_COLOR) leaves our own words plain; the job's stay unchanged.

    `obeyed`: a CI system reads this, and would obey a line that looks like one of its commands.
    """

    def __init__(
        self,
        *,
        out: TextIO,
        err: TextIO,
        clock: Clock,
        masks: Masks | None = None,
        obeyed: bool = False,
        width: int = 80,
        colour: bool = True,
    ) -> None:
        self._masks = masks or Masks()
        self._lines = MaskedLines(self._masks)
        self._obeyed = obeyed
        self._out = Stream(out)
        self._err = Stream(err)
        self._clock = clock
        self._width = width
        self._live = self._err.tty
        self._colour = colour and self._live
        self._started = clock.monotonic()
        self._meter = CostMeter()
        self._activity = ""
        self._progress_text = ""
        self._warned_broken = False
        self._tinted = False
        self._live_lines: Callable[[], Sequence[str]] = tuple
        self._status = StatusLine(self._status_text, self._err.write, width=width)
        self._log_file: KeptLog | None = None

    def keep_in(self, path: Path) -> None:
        """Write each line of the job to a file too, without its secrets."""
        self._log_file = KeptLog(path, hide=self._masks.hide_as_read, say=self.notice)

    def draw_above(self, lines: Callable[[], Sequence[str]]) -> bool:
        """Draw these lines above the status line, as long as it is drawn. False: there is no terminal."""
        self._live_lines = lines
        if self._live:
            self._status.start()
        return self._live

    def close(self) -> None:
        """Remove the status line and reset the terminal's colours."""
        self._status.stop()
        if self._log_file is not None:
            self._log_file.close()

    # ---- events --------------------------------------------------------------------------------------------------

    def show_phase(self, phase: Phase) -> None:
        self._activity, self._progress_text = ACTIVITIES[phase], ""
        self._say(self._paint(self._rule(self._activity) if self._live else self._activity, BOLD))
        if self._live:
            self._status.start()

    def show_price(self, spending: Spending) -> None:
        hourly_usd, billed = spending.hourly_usd, spending.billed
        if self._meter.change(hourly_usd, billed=billed, now=self._clock.monotonic()):
            price = f"{dollars(hourly_usd)} an hour"
            self._say(f"from now on the run costs {price}" if billed else f"nothing is billed: emulated price {price}")

    def show_launch(self, launch: Launch) -> None:
        self._say(f"runs on {machine_line(launch)}")

    def progress(self, text: str) -> None:
        """Show a text in the status line. Without one, print it as a line, but not again while it is unchanged."""
        text = self._masks.hide(plain(self._lines.hide(text)))
        if text and text != self._progress_text:
            self._progress_text = text
            if not self._live:
                self._say(text)

    def show_job_line(self, text: str) -> None:
        hidden = self._lines.hide(text)
        if self._log_file is not None:
            self._log_file.line(hidden)
        line = for_terminal(hidden)
        if line != hidden:  # a removed control may bring the parts of a secret together
            line = self._masks.hide_as_read(line)
        line = defused(line) if self._obeyed else line
        self._tinted = self._tinted or "\x1b" in line
        self._status.print_above(lambda: self._out.write(line + "\n"))
        if self._out.broken and not self._warned_broken:
            self._warned_broken = True
            self.warning(
                "The reader of the job's lines has gone, so they are no longer shown. The run continues to its end."
            )

    def show(self, text: str) -> None:
        self.notice(text)

    def notice(self, text: str) -> None:
        self._say(_plain_lines(text))

    def warning(self, text: str) -> None:
        self._say(self._paint("warning:", YELLOW) + " " + _plain_lines(text))

    def show_quote(self, plan: RunPlan, text: str) -> None:
        self._say(_plain_lines(text))

    def show_outcome(self, outcome: Outcome) -> None:
        """Print the summary."""
        self.close()
        outcome = self._masks.cleaned(outcome)
        head, *rest = map(self._safe, lines(outcome, width=self._width))
        colour = GREEN if outcome.ending is Ending.SUCCEEDED and proved_gone(outcome) else RED
        colour = YELLOW if outcome.ending is Ending.DETACHED else colour
        self._err.write("\n".join(["", self._paint(head, BOLD, colour), *rest, ""]))

    # ---- layout --------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        """Print one of our lines; its further lines are indented. A colour of the job ends here."""
        stamp = ("\x1b[0m" if self._tinted else "") if self._live else f"[{self._so_far()}] "
        self._tinted = False
        line = "\n".join(map(self._safe, f"{stamp}{text}".split("\n")))
        self._status.print_above(lambda: self._err.write(f"{line}\n"))

    def _safe(self, line: str) -> str:
        line = self._masks.hide_as_read(line)
        return defused(line) if self._obeyed else line

    def _status_text(self) -> str:
        line = " · ".join(part for part in (self._activity, self._so_far(), self._progress_text) if part)
        return "\n".join([*(self._safe(plain(line)) for line in self._live_lines()), line])

    def _so_far(self) -> str:
        now = self._clock.monotonic()
        return clock_text(now - self._started) + self._meter.so_far(now)

    def _rule(self, text: str) -> str:
        head = f"── {text} · {self._so_far()} "
        return head + "─" * max(0, min(self._width, 100) - len(head))

    def _paint(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self._colour else text


def _plain_lines(text: str) -> str:
    """Return our text with each line made plain: it may contain a machine's words."""
    return "\n  ".join(plain(line) for line in text.splitlines())
