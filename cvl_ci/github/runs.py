"""The Runs port: whether GitHub says that an attempt of a workflow run is completed. No answer is never "completed".

Shapes after GitHub's REST API, "Get a workflow run attempt" (GET /repos/{owner}/{repo}/actions/runs/{id}/attempts/{n}):
`status` is `completed` once every job is over, post steps included; `updated_at` is then the moment of it or later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from cvl_ci.backoff import Backoff
from cvl_ci.github import client
from cvl_ci.github.client import Client, Trouble

_NUMBER = re.compile(r"[0-9]{1,20}")


class WorkflowRuns:
    """Runs port on GitHub. `say` gets, once for each run, the reason why GitHub did not answer."""

    def __init__(
        self,
        *,
        api: str,
        token: str,
        repository: str,
        say: Callable[[str], None],
        backoff: Backoff = client.BACKOFF,
    ) -> None:
        self._client = Client(api=api, token=token, seconds=10.0, backoff=backoff)
        self._repository, self._say = repository, say
        self._may_not = False
        self._known: dict[tuple[str, str], float | None] = {}

    def ended_at(self, run: str, attempt: str) -> float | None:
        """Return when GitHub says it ended. Never raises. One question a run, however many leases it has."""
        key = (run, attempt)
        if key not in self._known:
            self._known[key] = self._ask(run, attempt)
        return self._known[key]

    def _ask(self, run: str, attempt: str) -> float | None:
        if self._may_not:
            return None
        try:
            return self._end_of(run, attempt)
        except Trouble as trouble:
            self._may_not = trouble.status in {401, 403} and client.is_final(trouble)
            advice = " It is not asked about others: that takes `permissions: actions: read`." if self._may_not else ""
            self._no_answer(run, attempt, trouble, advice)
        except Exception as error:  # noqa: BLE001  a reaper goes on by deadlines, whatever this was
            self._no_answer(run, attempt, error)
        return None

    def _end_of(self, run: str, attempt: str) -> float | None:
        if not _NUMBER.fullmatch(run) or not _NUMBER.fullmatch(attempt):
            raise Trouble("these are not numbers of a run")
        path = f"/repos/{self._repository}/actions/runs/{int(run)}/attempts/{int(attempt)}"
        answer = self._client.ask("GET", path)
        if client.member(answer, "status", str, of="the run") != "completed":
            return None
        updated_at = client.member(answer, "updated_at", str, of="the run")
        return datetime.fromisoformat(updated_at.replace("Z", "+00:00")).timestamp()

    def _no_answer(self, run: str, attempt: str, error: Exception, advice: str = "") -> None:
        self._say(
            f"GitHub could not say whether run {run}, attempt {attempt} is over: {str(error)[:200]}. "
            f"It counts as living; its deadline decides.{advice}"
        )
