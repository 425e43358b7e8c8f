"""Shield the step from a machine's output: the runner obeys none of it, and no flood of lines drowns the step.

The runner obeys a line that begins with `::cmd::` or holds `##[cmd]` anywhere, on stdout and on stderr. A lone carriage
return ends a line. Remote lines therefore go out between `::stop-commands::TOKEN` and `::TOKEN::`. Each block has a
fresh token that no machine can know. The web log's own `##[` is broken too. A line that the shield leaves out stands in
the file that holds every line.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from cvl_ci.result.sanitize import for_terminal

BURST_LINES = 2_000
LINES_A_SECOND = 50.0
"""The web log and the runner's upload can process this rate for hours."""

LONGEST_LINE = 4_000
PROGRESS_SECONDS = 5.0
"""The shield shows a progress bar that prints line after line this often. It always shows the last state."""

_PROGRESS = re.compile(r"\d\s?%|\d/\d+ ?\[|\bETA\b|it/s|[KMG]i?B/s")
_CHANGING = re.compile(r"[\d.:/#=>\-_|\s█▉▊▋▌▍▎▏━╸╺─?%]+")


class Shield:
    """Writer of remote lines. Close the block before cvl-ci writes a line itself.

    `write` gets whole lines. `kept_in` names the file in which a reader finds every line.
    """

    def __init__(self, write: Callable[[str], None], *, now: Callable[[], float], kept_in: str) -> None:
        self._write = write
        self._kept_in = kept_in
        self._now = now
        self._token = ""
        self._allowance = float(BURST_LINES)
        self._filled_at = now()
        self._left_out = 0
        self._shape = ""
        self._shape_shown_at = 0.0
        self._waiting: str | None = None

    @property
    def token(self) -> str:
        """Return the token of the open block, or an empty string while the runner obeys commands."""
        return self._token

    def line(self, text: str) -> None:
        """Show one line of the job, unless it is a progress bar's next state or one line too many."""
        now = self._now()
        if self._waiting is None and self._floods(now):
            self._left_out += 1  # millions may come: do nothing more with them
            return
        line = log_line(text)
        shape = _shape(line)
        if shape and shape == self._shape and now - self._shape_shown_at < PROGRESS_SECONDS:
            self._waiting = line
            return
        if shape != self._shape:
            self._flush()
        self._waiting = None
        self._shape, self._shape_shown_at = shape, now
        self._limited(line)

    def close(self) -> None:
        """Show the waiting line, tell how many lines were left out, and let the runner obey commands again."""
        self._flush()
        self._tell_left_out()
        if self._token:
            self._write(f"::{self._token}::\n")
            self._token = ""

    def _flush(self) -> None:
        waiting, self._waiting, self._shape = self._waiting, None, ""
        if waiting is not None:
            self._limited(waiting)

    def _floods(self, now: float) -> bool:
        # Once lines are left out, wait until a tenth of the burst is free again. Otherwise every second line would be a
        # count.
        self._allowance = min(BURST_LINES, self._allowance + (now - self._filled_at) * LINES_A_SECOND)
        self._filled_at = now
        return self._allowance < (BURST_LINES / 10 if self._left_out else 1)

    def _limited(self, line: str) -> None:
        if self._floods(self._now()):
            self._left_out += 1
            return
        self._tell_left_out()
        self._allowance -= 1
        self._guarded(line)

    def _tell_left_out(self) -> None:
        count, self._left_out = self._left_out, 0
        if count:
            lines = "line" if count == 1 else "lines"
            self._guarded(f"… {count} {lines} left out here, all of them in {self._kept_in} …")

    def _guarded(self, line: str) -> None:
        if not self._token:
            self._token = secrets.token_hex(16)
            self._write(f"::stop-commands::{self._token}\n")
        self._write(line + "\n")


def log_line(text: str) -> str:
    """Return a single line for the web log: colours stay, and neither the log nor a terminal obeys anything in it."""
    line = for_terminal(text.replace("\n", " "))
    if len(line) > LONGEST_LINE:
        line = f"{line[:LONGEST_LINE]}\x1b[0m … {len(line) - LONGEST_LINE} characters more"
    return unfolded(line)


def unfolded(line: str) -> str:
    """Put a zero-width space into each `##[`. The runner looks for it anywhere in a line, the web log at its start."""
    return line.replace("##[", "##\u200b[")


OBEYING = ("GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")
"""Variables of CI systems that obey a step's output: GitHub and its kin, Azure Pipelines, TeamCity."""
_COMMAND = re.compile(r"(?:\x1b\[[\d;:]*m|[^\w!-/:-@\[-`{-~])*:(?=:)")
_OLD_COMMAND = re.compile(r"##(?=\[|vso\[|teamcity\[)")


def defused(line: str) -> str:
    """Return a line that no CI system obeys, without a block around it.

    A zero-width space parts each command's signs. This is for standard output that a person may also send to a file,
    where the shield's own lines would be in the way.
    """
    start = _COMMAND.match(line)
    if start is not None:
        line = f"{start[0]}\u200b{line[start.end() :]}"
    return _OLD_COMMAND.sub("##\u200b", line)


def _shape(line: str) -> str:
    """Return the part of a progress bar that stays the same while it moves; empty for any other line."""
    return _CHANGING.sub(" ", line) + "%" if _PROGRESS.search(line) else ""
