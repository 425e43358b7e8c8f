"""THE SHIELD: nothing a machine prints is ever obeyed by the runner, and no flood of it drowns the step.

A line that begins with `::cmd::`, or holds `##[cmd]` anywhere, is a command to the runner, on stdout and stderr alike,
and a lone carriage return ends a line. So remote lines go out between `::stop-commands::TOKEN` and `::TOKEN::`, with a
token that no machine can know, fresh for every block; the web log's own `##[` is broken too. A line held back here is
in the file that keeps them all.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from cvl_ci.result.sanitize import for_terminal

BURST_LINES = 2_000
LINES_A_SECOND = 50.0
"""The web log and the runner's upload keep up with that for hours."""

LONGEST_LINE = 4_000
PROGRESS_SECONDS = 5.0
"""A progress bar that prints line after line is shown this often, and its last state always."""

_PROGRESS = re.compile(r"\d\s?%|\d/\d+ ?\[|\bETA\b|it/s|[KMG]i?B/s")
_CHANGING = re.compile(r"[\d.:/#=>\-_|\s█▉▊▋▌▍▎▏━╸╺─?%]+")


class Shield:
    """Close the block before any word of ours. `write` gets whole lines; `kept_in`: where every line can be read."""

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
        """Of the open block; empty when the runner obeys us."""
        return self._token

    def line(self, text: str) -> None:
        """One line of the job, shown unless it is a progress bar's next state or one of too many."""
        now = self._now()
        if self._waiting is None and self._floods(now):
            self._left_out += 1  # millions may come: nothing more is done with them
            return
        line = shown(text)
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
        """What was held back is told, and the runner obeys us again."""
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
        # Once lines are left out, a tenth of the burst has to be free again: else every second line would be a count.
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


def shown(text: str) -> str:
    """One line as the web log may have it: a single line, colours kept, nothing that it folds or a terminal obeys."""
    line = for_terminal(text.replace("\n", " "))
    if len(line) > LONGEST_LINE:
        line = f"{line[:LONGEST_LINE]}\x1b[0m … {len(line) - LONGEST_LINE} characters more"
    return unfolded(line)


def unfolded(line: str) -> str:
    """The runner looks for `##[` anywhere in a line, the web log at its start: a zero-width space comes between."""
    return line.replace("##[", "##\u200b[")


OBEYING = ("GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")
"""Variables of CI systems that obey what a step prints: GitHub's and its kin, Azure Pipelines, TeamCity."""
_COMMAND = re.compile(r"(?:\x1b\[[\d;:]*m|[^\w!-/:-@\[-`{-~])*:(?=:)")
_OLD_COMMAND = re.compile(r"##(?=\[|vso\[|teamcity\[)")


def defused(line: str) -> str:
    """Return a line that no CI system obeys, without a block around it: a zero-width space parts each command's signs.

    It is for standard output that a person may also send to a file, where the shield's own lines would be in the way.
    """
    start = _COMMAND.match(line)
    if start is not None:
        line = f"{start[0]}\u200b{line[start.end() :]}"
    return _OLD_COMMAND.sub("##\u200b", line)


def _shape(line: str) -> str:
    """What stays the same while a progress bar moves; nothing for any other line."""
    return _CHANGING.sub(" ", line) + "%" if _PROGRESS.search(line) else ""
