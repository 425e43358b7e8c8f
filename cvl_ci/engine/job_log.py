"""Separate SkyPilot's log stream into the job's output and SkyPilot's own messages. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from cvl_ci.engine.task.script import JOB_BEGINS, JOB_STREAM, LOG_ENDS, SETUP_BEGINS, SETUP_STREAM, UNFIT
from cvl_ci.engine.whole_log import StreamedLog
from cvl_ci.model.outcome import Phase
from cvl_ci.planning.trials import is_trial
from cvl_ci.result.sanitize import encodable

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOURS = r"(?:\x1b\[[0-9;]*m)*"
_JOB = re.compile(
    rf"^{_COLOURS}\((?P<who>setup|[^()\s,]+)(?:, rank=(?P<rank>\d+))?,? pid=\d+(?:, ip=(?P<ip>[^()]*))?\){_COLOURS} ?"
)
# None of these patterns reads past the start of the next match: a line may be long, and hostile.
_PAYLOAD = re.compile(r"<sky-payload[^<>]*>((?:(?!<sky-payload).)*?)</sky-payload>")
_CONTROL = re.compile(r"</?rich_\w+>|\[/?[a-z_ ]*\]|<heartbeat>[^<]*</heartbeat>")
_ADVICE = re.compile(r"(?:View logs:|To view|\(Ctrl-C).*|^[\s⚙︎✓├└─]+")

READ, NO_JOB, LOST = "read", "no job", "lost"
"""The ends of a question for the last lines of a log: log_tail.py returns one of them."""


@dataclass(kw_only=True)
class JobLog:
    """One job's stream.

    If the stream breaks, a second stream of the same job repeats it from its start. The repeated lines are skipped.
    """

    num_nodes: int
    phase: Phase | None = None
    _is_in_setup: bool = False
    _line_count: int = 0
    _lines_to_skip: int = 0
    logs: dict[tuple[str, str], StreamedLog] = field(default_factory=dict)
    """The lines of each node's logs: by the log's name, and the rank or (in setup) the address that SkyPilot gives."""
    began_on: set[tuple[str, str]] = field(default_factory=set)
    """The nodes on which setup, or the job, began: by address in setup, by rank in the job."""
    told_unfit: bool = False
    """Whether a node told, before anything of the job, that it is not fit for it."""
    _open: StreamedLog | None = None
    """The log of the latest line. The rest of a line that is too long for one piece belongs to it."""

    def begin_again(self) -> None:
        """Expect a second stream of the job, which repeats all lines so far."""
        self._lines_to_skip, self._line_count = max(self._lines_to_skip, self._line_count), 0

    def read(self, line: str) -> tuple[Phase | None, str | None, str | None]:
        """Return the phase that begins with this line, the job's text, and SkyPilot's text.

        At most one of the two texts is set.
        """
        line = line.removesuffix("\r")  # of SkyPilot's ssh, which asks for a terminal
        match = _JOB.match(line)
        self._open = None
        if match is None:
            return None, None, progress(line)
        self._line_count += 1
        if self._line_count <= self._lines_to_skip:
            return None, None, None
        is_setup, text = match["who"] == "setup", line[match.end() :]
        if text == UNFIT:
            self.told_unfit = True
            return None, None, None
        # A further job on a live machine has its setup in the job itself.
        self._is_in_setup = text == SETUP_BEGINS or (self._is_in_setup and text != JOB_BEGINS)
        phase = Phase.SETUP if is_setup or self._is_in_setup else Phase.RUNNING
        next_phase = phase if phase is not self.phase and self.phase is not Phase.RUNNING else None
        self.phase = next_phase or self.phase
        if text in (SETUP_BEGINS, JOB_BEGINS):
            self.began_on.add((text, match["ip"] or match["rank"] or ""))
            return next_phase, None, None
        if is_trial(text):
            return next_phase, None, text.removeprefix("cvl-ci: ")
        key = (SETUP_STREAM, match["ip"] or "") if is_setup else (JOB_STREAM, match["rank"] or "0")
        self._open = self.logs.setdefault(key, StreamedLog())
        self._open.line(text)
        rank = f"(rank {match['rank']}) " if match["rank"] is not None and self.num_nodes > 1 else ""
        return next_phase, rank + text, None

    def rest(self, text: str) -> str | None:
        """Return the continuation of a long line if the job printed it; None for a line of SkyPilot."""
        if self._open is None:
            return None
        self._open.rest(text)
        return text


def progress(line: str) -> str | None:
    """Return SkyPilot's message in one plain line; None if it has no meaning for a person."""
    for payload in _PAYLOAD.findall(line):
        try:
            line = str(encodable(json.loads(payload)))
        except ValueError:
            return None
    text = _CONTROL.sub("", _ANSI.sub("", line))
    text = _ADVICE.sub("", text).strip()
    return None if text in ("", LOG_ENDS) else text
