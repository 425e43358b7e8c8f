"""GitHub's REST API of one repository: read page by page, written once, and what a token may not is said with its cure.

Shapes after GitHub's own description, which the tests hold both sides to. A moment's failure and a rate limit are
waited out as long as GitHub asks; what is no answer even then is an error of ours, never an empty list.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cvl_ci.errors import CvlError

if TYPE_CHECKING:
    from github import Github

RETRIES = 3
PAGE = 100
"""Entries, which is the most that GitHub gives."""


class Repository:
    """`api`: GITHUB_API_URL; `name`: owner/name."""

    def __init__(self, *, api: str, token: str, name: str) -> None:
        self._api, self._token, self._name = api, token, name
        self._github: Github | None = None

    @property
    def name(self) -> str:
        return self._name

    def get(self, path: str, *, needs: str, **query: object) -> Any:
        """`path`: below the repository's own. `needs`: the permission it takes, such as `actions: read`."""
        return self._ask("GET", path, needs=needs, query=query)

    def every(self, path: str, *, needs: str, most: int, key: str = "", **query: object) -> Iterator[Mapping[str, Any]]:
        """Entries of all pages, `most` of them. `key`: under which a page lists them, where it is more than a list."""
        given = 0
        for page in range(1, most // PAGE + 2):
            answer = self.get(path, needs=needs, **query, per_page=PAGE, page=page)
            listed = answer.get(key) if key and isinstance(answer, dict) else answer
            entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
            yield from entries[: most - given]
            given += len(entries)
            if len(entries) < PAGE or given >= most:
                return

    def send(self, method: str, path: str, body: Mapping[str, object], *, needs: str) -> Any:
        return self._ask(method, path, needs=needs, body=body)

    def who(self) -> str:
        """Whose token this is; empty: it may not ask, as the workflow's own."""
        from github import GithubException

        try:
            return str(self._opened().get_user().login)
        except GithubException as error:
            if error.status in {401, 403, 404}:
                return ""
            raise _unanswered("GET /user", f"answer {error.status}") from None
        except (OSError, AssertionError) as error:
            raise _unanswered("GET /user", type(error).__name__) from None

    def _ask(
        self,
        method: str,
        path: str,
        *,
        needs: str,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:
        from github import GithubException

        try:
            _, answer = self._opened().requester.requestJsonAndCheck(
                method,
                f"/repos/{self._name}{path}",
                parameters=dict(query) if query else None,
                input=dict(body) if body is not None else None,
            )
        except GithubException as error:
            raise _refused(f"{method} {path}", error, needs) from None
        except (OSError, AssertionError, ValueError) as error:
            raise _unanswered(f"{method} {path}", f"{type(error).__name__}: {str(error)[:200]}") from None
        return answer

    def _opened(self) -> Github:
        from github import Auth, Github, GithubRetry

        if self._github is None:
            logging.getLogger("github.GithubRetry").setLevel(logging.ERROR)  # what was refused, we say ourselves
            self._github = Github(
                auth=Auth.Token(self._token), base_url=self._api, timeout=15, retry=GithubRetry(total=RETRIES)
            )
        return self._github


def _refused(what: str, error: Any, needs: str) -> CvlError:
    if error.status in {401, 403, 404}:
        return CvlError(
            f"GitHub lets this token not {what} ({error.status}).",
            next_step=f"Give the job `permissions: {{{needs}}}`.",
        )
    return _unanswered(what, f"answer {error.status}")


def _unanswered(what: str, why: str) -> CvlError:
    return CvlError(f"GitHub did not answer {what}: {why}.", next_step="Run this job again.")
