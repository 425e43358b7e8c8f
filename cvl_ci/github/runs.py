"""The Runs port: whether GitHub says that an attempt of a workflow run is completed. No answer is never "completed".

Shapes after GitHub's REST API, "Get a workflow run attempt" (GET /repos/{owner}/{repo}/actions/runs/{id}/attempts/{n}):
`status` is `completed` once every job is over, post steps included; `updated_at` is then the moment of it or later.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from github import Github

RETRIES = 3
"""Of a server's own failures and of rate limits, as long as GitHub asks to wait."""


class WorkflowRuns:
    """`say` is told, once for each run, why GitHub could not be asked."""

    def __init__(self, *, api: str, token: str, repository: str, say: Callable[[str], None]) -> None:
        self._api = api
        self._token = token
        self._repository = repository
        self._say = say
        self._github: Github | None = None
        self._may_not = False
        self._known: dict[tuple[str, str], float | None] = {}

    def ended_at(self, run: str, attempt: str) -> float | None:
        """One question a run, however many leases it has."""
        key = (run, attempt)
        if key not in self._known:
            self._known[key] = self._ask(run, attempt)
        return self._known[key]

    def _ask(self, run: str, attempt: str) -> float | None:
        from github import GithubException

        if self._may_not:
            return None
        try:
            answer = self._get(f"/repos/{self._repository}/actions/runs/{int(run)}/attempts/{int(attempt)}")
            if answer.get("status") != "completed":
                return None
            return datetime.fromisoformat(str(answer["updated_at"]).replace("Z", "+00:00")).timestamp()
        except GithubException as error:
            self._may_not = error.status in {401, 403}
            every = " It is not asked about others: that takes `permissions: actions: read`." if self._may_not else ""
            self._no_answer(run, attempt, error, every)
            return None
        except (OSError, AssertionError, KeyError, ValueError) as error:
            self._no_answer(run, attempt, error)
            return None

    def _no_answer(self, run: str, attempt: str, error: Exception, more: str = "") -> None:
        self._say(
            f"GitHub could not say whether run {run}, attempt {attempt} is over: {str(error)[:200]}. "
            f"It counts as living; its deadline decides.{more}"
        )

    def _get(self, path: str) -> dict[str, Any]:
        from github import Auth, Github, GithubRetry

        if self._github is None:
            self._github = Github(
                auth=Auth.Token(self._token), base_url=self._api, timeout=10, retry=GithubRetry(total=RETRIES)
            )
        _, answer = self._github.requester.requestJsonAndCheck("GET", path)
        return answer if isinstance(answer, dict) else {}
