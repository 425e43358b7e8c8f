"""What comes from the worker while a job runs, for the person watching: lines, phases, and word of lost machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvl_ci.engine.joblog import JobLog
from cvl_ci.ports import Began, Line, Progress, Watch


class Following:
    """`lost`: why the job will never end by itself, once that is known."""

    def __init__(self, watch: Watch, *, num_nodes: int) -> None:
        self._watch = watch
        self._log = JobLog(num_nodes=num_nodes)
        self.lost: str | None = None

    def line(self, text: str) -> None:
        began, printed, said = self._log.read(text)
        if began:
            self._watch(Began(phase=began))
        if printed is not None:
            self._watch(Line(text=printed))
        if said is not None:
            self._watch(Progress(text=said))

    def event(self, event: Mapping[str, Any]) -> None:
        kind = event["kind"]
        if kind == "again":
            self._log.again()
        elif kind == "not_renewed":
            text = f"the machine's heartbeat could not be renewed, trying again: {event['text']}"
            self._watch(Progress(text=text))
        elif kind == "nodes_lost":
            self.lost = f"the provider shows {event['found']} of its {event['of']} nodes"
