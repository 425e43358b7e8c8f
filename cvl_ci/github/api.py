"""GitHub's REST API of one repository: read page by page, written once, and what a token may not is said with its cure.

Shapes after GitHub's own description, which the tests hold both sides to. A moment's failure and a rate limit are
waited out as long as GitHub asks, a minute at most; what is no answer even then is an error of ours, never an empty
list.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from cvl_ci.errors import CvlError
from cvl_ci.github import client
from cvl_ci.github.client import Client, Trouble

RETRIES = 3
PAGE = client.PAGE
Answer = TypeVar("Answer")


class Repository:
    """`api`: GITHUB_API_URL; `name`: owner/name."""

    def __init__(self, *, api: str, token: str, name: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client, self._name, self._sleep = Client(api=api, token=token), name, sleep

    @property
    def name(self) -> str:
        return self._name

    def get(self, path: str, *, needs: str, **query: object) -> Any:
        """`path`: below the repository's own. `needs`: the permission it takes, such as `actions: read`."""
        return self._ask("GET", path, needs=needs, query=query)

    def every(self, path: str, *, needs: str, most: int, key: str = "", **query: object) -> Iterator[Mapping[str, Any]]:
        """Give the entries of all pages, `most` of them. `key`: under which a page lists them.

        An answer that is no such list raises, and so does a page that comes again.
        """
        given, before = 0, None
        for page in range(1, most // PAGE + 2):
            answer = self.get(path, needs=needs, **query, per_page=PAGE, page=page)
            entries = self.well(f"GET {path}", needs, lambda answer=answer: _listed(answer, key, path))  # type: ignore[misc]
            if entries and entries == before:
                raise _unanswered(f"GET {path}", f"page {page} is page {page - 1} again")
            yield from entries[: most - given]
            given, before = given + len(entries), entries
            if len(entries) < PAGE or given >= most:
                return

    def send(self, method: str, path: str, body: Mapping[str, object], *, needs: str) -> Any:
        return self._ask(method, path, needs=needs, body=body)

    def who(self) -> str:
        """Return whose token this is; empty: it may not ask, as the workflow's own."""
        try:
            login = client.member(self._patiently("GET", "/user"), "login", str, of="the token's user")
        except Trouble as trouble:
            if trouble.status in {401, 403, 404}:
                return ""
            raise _unanswered("GET /user", str(trouble)) from None
        return str(login)

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
        whole = f"/repos/{self._name}{path}"
        return self.well(f"{method} {path}", needs, lambda: self._patiently(method, whole, query=query, body=body))

    def _patiently(self, method: str, path: str, **more: Any) -> Any:
        retries = 0 if method == "POST" else RETRIES  # a second one may make a second issue
        return patiently(lambda: self._client.ask(method, path, **more), sleep=self._sleep, retries=retries)


def patiently(ask: Callable[[], Answer], *, sleep: Callable[[float], None], retries: int = RETRIES) -> Answer:
    """Ask until there is an answer, `retries` times more. Raise the last Trouble."""
    for attempt in range(retries):
        try:
            return ask()
        except Trouble as trouble:
            seconds = client.wait(trouble, now=time.time(), attempt=attempt)
            if seconds is None or seconds > client.LONGEST_WAIT:
                raise
            sleep(seconds)
    return ask()


def _listed(answer: object, key: str, path: str) -> list[Mapping[str, Any]]:
    return client.entries(client.member(answer, key, list, of=path) if key else answer, of=path)


def _refused(what: str, trouble: Trouble, needs: str) -> CvlError:
    if trouble.status in {401, 403, 404} and client.wait(trouble, now=0.0, attempt=0) is None:
        return CvlError(
            f"GitHub does not let this token {what} ({trouble.status}).",
            next_step=f"Give the job `permissions: {{{needs}}}`.",
        )
    return _unanswered(what, str(trouble))


def _unanswered(what: str, why: str) -> CvlError:
    return CvlError(f"GitHub did not answer {what}: {why}.", next_step="Run this job again.")
