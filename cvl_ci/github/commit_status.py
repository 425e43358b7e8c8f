"""Set the status of a commit, which a pull request shows next to its checks: GitHub's "Create a commit status"."""

from __future__ import annotations

import enum

from cvl_ci.github.api import Repository

NEEDS = "statuses: write"
LONGEST_DESCRIPTION = 140
LONGEST_CONTEXT = 255


class CommitState(enum.Enum):
    """The states of a commit, in GitHub's words. `error`: infrastructure failed, and not the code."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


def set_status(
    repository: Repository, *, commit: str, context: str, state: CommitState, description: str, url: str = ""
) -> None:
    """Set the status of this context. A later one replaces it. Raise CvlError, with the missing permission."""
    body = {
        "state": state.value,
        "context": context[:LONGEST_CONTEXT],
        "description": description[:LONGEST_DESCRIPTION],
        **({"target_url": url} if url else {}),
    }
    repository.send("POST", f"/statuses/{commit}", body, needs=NEEDS)
