"""The log of a run on this computer: where it is, and whether its run still lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """One run's log. The file exists from the job's first line on; the run has taken the secrets out of it."""

    path: Path
    is_alive: Callable[[], bool]
    """Whether a process of the run lives. After False, the log does not grow."""
