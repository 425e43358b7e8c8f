"""Implement the RunReporter on GitHub: phases as groups, remote lines behind the shield, every line in a file.

cvl-ci writes none of its own lines while a block of remote lines is open. No line of its own begins with a machine's
text.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TextIO

from cvl_ci.github.log.workflow_commands import Commands
from cvl_ci.model.launch import Launch, Spending
from cvl_ci.model.outcome import Ending, Outcome, Phase
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports import Clock
from cvl_ci.result.command_shield import Shield, log_line, unfolded
from cvl_ci.result.first_errors import FirstErrors
from cvl_ci.result.masked_lines import MaskedLines
from cvl_ci.result.masks import Masks
from cvl_ci.result.no_follow import LinkInTheWay, opened_to_write
from cvl_ci.result.sanitize import plain
from cvl_ci.result.summary import lines
from cvl_ci.result.text import headline, machine_line, proved_gone
from cvl_ci.result.units import clock_text, dollars

TITLES = {
    Phase.WAITING: "Waiting for the machine",
    Phase.SANDBOX: "Starting the sandbox",
    Phase.STAGING: "Collecting the files",
    Phase.PROVISIONING: "Getting machines",
    Phase.SETUP: "Setting up",
    Phase.RUNNING: "Running",
    Phase.RECOVERING: "Replacing lost machines",
    Phase.FETCHING: "Fetching what it wrote",
    Phase.RELEASING: "Taking the machines down",
}
TAIL_LINES = 40
"""Of the job's last lines, shown where the log is not: in the comment and in the summary."""


class GitHubRunReporter:
    """Run reporter of a step: the step's log, annotations and page, and the file of the job's lines.

    `log`: that file. `summarise`: outcome, last lines, room in bytes → the step's page.
    """

    def __init__(
        self,
        *,
        out: TextIO,
        clock: Clock,
        files: Mapping[str, str],
        masks: Masks,
        log: Path,
        summarise: Callable[[Outcome, tuple[str, ...], int], str],
        on_phase: Callable[[Phase], None] = lambda _: None,
        on_launch: Callable[[Launch], None] = lambda _: None,
        on_spending: Callable[[Spending], None] = lambda _: None,
    ) -> None:
        self._out = out
        self._clock = clock
        self._masks = masks
        self._lines = MaskedLines(masks)
        self._log_path = log
        self._log: IO[str] | None = None
        self._is_log_broken = False
        self._summarise = summarise
        self._on_phase = on_phase
        self._on_launch = on_launch
        self._on_spending = on_spending
        self._price_text = ""
        self.is_end_shown = False
        self._started = clock.monotonic()
        self._is_group_open = False
        self._last_progress = ""
        self._example = ""
        self.errors = FirstErrors(tail_lines=TAIL_LINES)
        self.commands = Commands(self._write, files=files)
        self._shield = Shield(self._write, now=clock.monotonic, kept_in=str(log))

    @property
    def tail(self) -> tuple[str, ...]:
        return self.errors.tail

    def mask(self, *secrets: str) -> None:
        """Mask secrets before any other output: the runner masks only later lines."""
        self._shield.close()
        for form in self._masks.add(*secrets):
            self.commands.mask(form)

    def close(self) -> None:
        """Close the open block, the group and the file."""
        self._shield.close()
        self._end_group()
        if self._log is not None:
            self._log.close()
            self._log = None

    def write_from_signal(self, text: str) -> None:
        """Write from a signal handler, which may interrupt any other write: one system call, no buffer."""
        closing = f"::{self._shield.token}::\n" if self._shield.token else ""
        with contextlib.suppress(OSError, ValueError):
            os.write(self._out.fileno(), f"\n{closing}{unfolded(text)}\n".encode())

    # ---- the port -------------------------------------------------------------------------------------------------

    def show_phase(self, phase: Phase) -> None:
        self._shield.close()
        self._end_group()
        self.commands.group(f"{TITLES[phase]} [{self._elapsed()}]")
        self._is_group_open = True
        self._on_phase(phase)

    def show_price(self, spending: Spending) -> None:
        self._on_spending(spending)
        price = f"{dollars(spending.hourly_usd)} an hour"
        text = f"from now on {price} is spent" if spending.billed else f"nothing is billed: emulated price {price}"
        if text != self._price_text:
            self._price_text = text
            self._say(text)

    def show_launch(self, launch: Launch) -> None:
        self._on_launch(launch)
        self._say(f"runs on {machine_line(launch)}")

    def progress(self, text: str) -> None:
        text = self._masks.hide(plain(self._lines.hide(text)))
        if text and text != self._last_progress:
            self._last_progress = text
            self._say(text)

    def show_job_line(self, text: str) -> None:
        text = self._lines.hide(text)
        self._keep(text)
        line = plain(log_line(text))
        if line != text:  # what stood apart may stand together now
            line = self._masks.hide(line)
        line = line[:500]
        self.errors.line(line)
        self._shield.line(text)

    def show(self, text: str) -> None:
        """Write a line, with its time. Several lines are a table or a plan: each gets a bar, so that columns align."""
        if "\n" not in text.rstrip("\n"):
            self._say(text)
            return
        self._shield.close()
        for line in self._masks.hide(_plain_lines(text)).split("\n"):
            self._write(f"│ {unfolded(line)}\n")

    def notice(self, text: str) -> None:
        self._annotate("notice", text)

    def warning(self, text: str) -> None:
        self._annotate("warning", text)

    def show_quote(self, plan: RunPlan, text: str) -> None:
        self._example = plan.work.example_path or ""
        self._say(text)

    def show_outcome(self, outcome: Outcome) -> None:
        """Show the summary in the log, outside every group, and on the step's page. A failure becomes an annotation."""
        self.close()
        self.is_end_shown = True
        outcome = self._masks.cleaned(outcome)
        with self._warn_on_failure("The annotation of the failure"):
            if outcome.ending is not Ending.DETACHED and not (
                outcome.ending is Ending.SUCCEEDED and proved_gone(outcome)
            ):
                self._annotate_failure(outcome)
        with self._warn_on_failure("The summary in the log"):
            for line in lines(outcome, width=120):
                self._write(f"│ {unfolded(line)}\n")
        with self._warn_on_failure("The summary on the step's page"):
            self.commands.summary(lambda room: self._masks.hide(self._summarise(outcome, self.tail, room)))

    @contextlib.contextmanager
    def _warn_on_failure(self, what: str) -> Iterator[None]:
        """Warn when one part of the summary fails: it changes neither the end of the run nor the other parts."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self.warning(f"{what} could not be written ({type(error).__name__}: {error}). The run's own end stands.")

    # ---- next to the port -------------------------------------------------------------------------------------------

    def refused(self, text: str) -> None:
        """Show an error before a run, whole in the log and as an annotation."""
        self.show(text)
        self.commands.annotate("error", unfolded(self._masks.hide(_plain_lines(text))))

    # ---- lines and files -------------------------------------------------------------------------------------------

    def _annotate(self, kind: str, text: str) -> None:
        self._shield.close()
        text = self._masks.hide(_plain_lines(text))
        if not self.commands.annotate(kind, unfolded(text)):
            self._say(f"{kind}: {text}")

    def _annotate_failure(self, outcome: Outcome) -> None:
        """Annotate a failure with the job's own words, on its example's file, where a reviewer looks."""
        lines, file = [plain(outcome.reason) or headline(outcome)], ""
        if outcome.ending is Ending.FAILED:
            lines, file = [*lines, *self.errors.error_lines()], self._example
        text = "\n".join(map(unfolded, lines))
        kind = "error" if outcome.exit_code else "warning"  # an idle job may be neutral
        self.commands.annotate(kind, text, title=unfolded(headline(outcome)), file=unfolded(plain(file)))

    def _say(self, text: str) -> None:
        self._shield.close()
        stamp = f"[{self._elapsed()}]"
        for line in self._masks.hide(_plain_lines(text)).split("\n"):
            self._write(f"{stamp} {unfolded(line)}\n")

    def _elapsed(self) -> str:
        return clock_text(self._clock.monotonic() - self._started)

    def _end_group(self) -> None:
        if self._is_group_open:
            self.commands.end_group()
            self._is_group_open = False

    def _keep(self, text: str) -> None:
        """Append a line of the job to the file, unchanged: the shield leaves lines out. A full disk ends no run."""
        if self._is_log_broken:
            return
        try:
            if self._log is None:
                with opened_to_write(self._log_path, append=True) as file:
                    self._log = os.fdopen(
                        os.dup(file), "a", encoding="utf-8", errors="replace", newline="", buffering=1
                    )
            self._log.write(text + "\n")
        except (OSError, LinkInTheWay) as error:
            self._is_log_broken = True
            self.warning(f"The job's lines can no longer be kept in {self._log_path}: {error}.")

    def _write(self, text: str) -> None:
        """Write. A runner that no longer reads does not end a run either."""
        with contextlib.suppress(OSError, ValueError):
            self._out.write(text.encode("utf-8", "replace").decode())
            self._out.flush()


def _plain_lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.splitlines())
