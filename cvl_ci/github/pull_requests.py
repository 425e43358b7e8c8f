"""The PullRequests port: the state of a pull request by GitHub's word. No answer is never "closed".

Shapes after GitHub's REST API, "Get a pull request": `state` is `open` or `closed`, and a merged one is closed too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cvl_ci.backoff import Backoff
from cvl_ci.github import client
from cvl_ci.github.client import Client, Trouble
from cvl_ci.ports.pull_requests import PullRequestState

PERMISSION = "pull-requests: read"


class PullRequestStates:
    """PullRequests port on GitHub. `say` gets the reason each time that GitHub does not answer."""

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

    def state(self, number: int) -> PullRequestState | None:
        """Return what GitHub says about it. Never raises."""
        try:
            return self._ask(number)
        except Trouble as trouble:
            may_not = trouble.status in {401, 403, 404} and client.is_final(trouble)
            self._no_answer(number, trouble, f" It takes `permissions: {{{PERMISSION}}}`." if may_not else "")
        except Exception as error:  # noqa: BLE001  an answer of another shape decides nothing, whatever it is
            self._no_answer(number, error)
        return None

    def _ask(self, number: int) -> PullRequestState:
        answer = self._client.ask("GET", f"/repos/{self._repository}/pulls/{number}")
        head = client.member(answer, "head", dict, of="the pull request")
        sha = client.member(head, "sha", str, of="the pull request's head")
        state = client.member(answer, "state", str, of="the pull request")
        if state == "open":
            return PullRequestState(head_sha=sha, closed_at=None)
        if state != "closed":
            raise Trouble(f"the pull request has the state {state[:20]!r}")
        closed_at = client.member(answer, "closed_at", str, of="the closed pull request")
        moment = datetime.fromisoformat(closed_at.replace("Z", "+00:00"))
        return PullRequestState(head_sha=sha, closed_at=moment.timestamp())

    def _no_answer(self, number: int, error: Exception, advice: str = "") -> None:
        self._say(
            f"GitHub could not say whether pull request {number} is closed: {str(error)[:200]}. "
            f"It counts as open; the deadline of its preview decides.{advice}"
        )
