"""The port that reads the log of a job from its live machine, without any change to the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class MachineLog(Protocol):
    """The log of the latest job on the machines of a lease. The job, or the machine, may have written any text."""

    def show(self, cluster: str, *, count: int, is_following: bool, line: Callable[[str], None]) -> None:
        """Pass the last `count` lines to `line`, each without its end and with all its controls.

        `is_following`: then each further line too, until the job's end. Else the answer has a limit of text and of
        seconds. Raises EngineError for a machine that this computer has no way into, that does not answer, or that has
        no job.
        """

    def state(self, cluster: str) -> str:
        """Return the replicas of a service in words; empty for machines of cvl-ci's own. Raises EngineError."""
