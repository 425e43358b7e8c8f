"""Call GitHub's REST API of one repository: read page by page, write once, and name the permission that is missing.

Shapes after GitHub's own description, which the tests hold both sides to. After a short failure or a rate limit it
waits as long as GitHub asks, a minute at most. A missing answer is then an error, never an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from cvl_ci.backoff import Backoff
from cvl_ci.errors import CvlError
from cvl_ci.github import client
from cvl_ci.github.client import Client, Trouble

Answer = TypeVar("Answer")


class ApiRefused(CvlError):
    """A refusal that another try does not change."""


class Repository:
    """`api`: GITHUB_API_URL; `name`: owner/name."""

    def __init__(self, *, api: str, token: str, name: str, backoff: Backoff = client.BACKOFF) -> None:
        self._client, self._name = Client(api=api, token=token, backoff=backoff), name

    @property
    def name(self) -> str:
        return self._name

    def get(self, path: str, *, needs: str, **query: object) -> Any:
        """`path`: below the repository's own. `needs`: the permission it takes, such as `actions: read`."""
        return self._ask("GET", path, needs=needs, query=query)

    def list_entries(
        self, path: str, *, needs: str, most: int, key: str = "", **query: object
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of all pages, at most `most`. `key`: the member of a page that lists them.

        Raise CvlError for every answer that is not such a list.
        """
        entries = self._client.list_entries(self._full_path(path), most=most, key=key, query=query)
        while (entry := self.well(f"GET {path}", needs, lambda: next(entries, None))) is not None:
            yield entry

    def send(self, method: str, path: str, body: Mapping[str, object], *, needs: str) -> Any:
        return self._ask(method, path, needs=needs, body=body)

    def login(self) -> str:
        """Return the owner of the token; empty where the token may not ask. Raise CvlError."""
        try:
            return self._client.login()
        except Trouble as trouble:
            raise _unanswered("GET /user", str(trouble)) from None

    def well(self, what: str, needs: str, read: Callable[[], Answer]) -> Answer:
        """Return what `read` makes of an answer; its Trouble becomes an error for a person."""
        try:
            return read()
        except Trouble as trouble:
            raise _refused(what, trouble, needs) from None

    def _ask(
        self,
        method: str,
        path: str,
        *,
        needs: str,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:
        return self.well(
            f"{method} {path}", needs, lambda: self._client.ask(method, self._full_path(path), query=query, body=body)
        )

    def _full_path(self, path: str) -> str:
        return f"/repos/{self._name}{path}"


def _refused(what: str, trouble: Trouble, needs: str) -> CvlError:
    if trouble.status == 422:  # GitHub's word for a request that it understands and cannot follow
        return ApiRefused(f"GitHub refuses {what}: {trouble}.", next_step="Report it, with this line of the log.")
    if trouble.status in {401, 403, 404} and client.is_final(trouble):
        return ApiRefused(
            f"GitHub does not let this token {what} ({trouble.status}).",
            next_step=f"Give the job `permissions: {{{needs}}}`.",
        )
    return _unanswered(what, str(trouble))


def _unanswered(what: str, why: str) -> CvlError:
    return CvlError(f"GitHub did not answer {what}: {why}.", next_step="Run this job again.")
