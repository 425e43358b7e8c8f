"""The port that asks GitHub about a pull request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class PullRequestState:
    """GitHub's answer: the newest commit, and when it was closed, in seconds since the epoch. None: it is open."""

    head_sha: str
    closed_at: float | None


class PullRequests(Protocol):
    def state(self, number: int) -> PullRequestState | None:
        """Return its state. None: GitHub gave no answer, which never means that it is closed."""
