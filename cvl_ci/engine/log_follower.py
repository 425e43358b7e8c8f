"""Turn the worker's messages during a job into lines, phases and lost machines for the person who watches."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cvl_ci.engine import whole_log
from cvl_ci.engine.job_log import JobLog
from cvl_ci.engine.whole_log import LogSum, StreamedLog
from cvl_ci.ports import Began, Line, Progress, Watch


class Following:
    """Reader of a job's stream.

    `lost`: why the job will never end by itself. `start`: the first line, monotonic seconds.
    """

    def __init__(self, watch: Watch, *, num_nodes: int) -> None:
        self._watch = watch
        self._log = JobLog(num_nodes=num_nodes)
        self._num_nodes = num_nodes
        self.lost: str | None = None
        self.start: float | None = None

    def line(self, text: str) -> None:
        phase, printed, message = self._log.read(text)
        if phase:
            self.start = self.start or time.monotonic()
            self._watch(Began(phase=phase))
        if printed is not None:
            self._watch(Line(text=printed))
        if message is not None:
            self._watch(Progress(text=message))

    def rest(self, text: str) -> None:
        """Pass on the next piece of the line before.

        A line that is too long comes in pieces, all printed by the job.
        """
        piece = self._log.rest(text)
        if piece is not None:
            self._watch(Line(text=piece))

    @property
    def nodes_begun(self) -> int:
        """Return on how many nodes setup or the job began. From then on a node may run hostile code."""
        counts = collections.Counter(text for text, _ in self._log.began_on)
        return max(counts.values(), default=0)

    @property
    def told_unfit(self) -> bool:
        """Return whether a node told in the stream that it is not fit for the job."""
        return self._log.told_unfit

    def incomplete(
        self, sums: Sequence[Mapping[str, LogSum]], *, has_ended: Sequence[bool]
    ) -> dict[tuple[int, str], list[StreamedLog]]:
        return whole_log.incomplete(self._log.logs, sums, has_ended=has_ended)

    def missed(self, rank: int, lines: Sequence[str]) -> None:
        """Print lines that the stream did not deliver."""
        label = f"(rank {rank}) " if self._num_nodes > 1 else ""
        self._watch(Progress(text=f"the stream missed {_lines(len(lines))} of the job, which follow here"))
        for text in lines:
            self._watch(Line(text=label + text))

    def event(self, event: Mapping[str, Any]) -> None:
        kind = event["kind"]
        if kind == "again":
            self._log.begin_again()
        elif kind == "not_renewed":
            text = f"the machine's heartbeat could not be renewed, trying again: {event['text']}"
            self._watch(Progress(text=text))
        elif kind == "nodes_lost":
            self.lost = f"the provider shows {event['alive']} of its {event['of']} nodes"


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"
