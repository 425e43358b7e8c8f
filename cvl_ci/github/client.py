"""GitHub's REST API, one question at a time: its answer as JSON, or Trouble in words, and nothing else.

"Best practices for using the REST API" (docs.github.com/rest): wait as long as `retry-after` says, else until
`x-ratelimit-reset`, else a minute. A redirect is not followed: GitHub sends one for a repository that was renamed, and
our token goes to the address that we were given, and to no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cvl_ci.backoff import Backoff

if TYPE_CHECKING:
    from requests import Response, Session

LONGEST_WAIT = 60.0
"""Seconds between two requests. A longer wait ends the tries, and the caller reports it."""
BACKOFF = Backoff(tries=4, first_seconds=1.0, longest_seconds=LONGEST_WAIT)
ONCE = replace(BACKOFF, tries=1)
MOST_PAGES = 100
"""Of one listing."""
PAGE = 100
"""Entries, which is the most that GitHub gives."""
VERSION = "2022-11-28"
RENAMED = "GitHub sends us to another address: was the repository renamed while this ran?"


class Trouble(Exception):
    """No answer that can be used. `status` 0: none came, or none that is GitHub's. `again`: another try may help."""

    def __init__(
        self, words: str, *, status: int = 0, headers: Mapping[str, str] | None = None, again: bool = False
    ) -> None:
        super().__init__(words)
        self.status, self.again = status, again
        self.headers = {str(name).lower(): str(value) for name, value in (headers or {}).items()}


class Client:
    """GitHub's API for every part of cvl-ci: one address, one token, bounded answers, patience.

    `api`: GITHUB_API_URL. `seconds`: the longest wait for a silent server. `backoff`: ONCE leaves patience to the
    caller.
    """

    def __init__(self, *, api: str, token: str, seconds: float = 15.0, backoff: Backoff = BACKOFF) -> None:
        self._api, self._token, self._seconds, self._backoff = api.rstrip("/"), token, seconds, backoff
        self._session: Session | None = None

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:
        """Return the answer. Raise Trouble after any error. A POST is sent once: a second may make a second issue."""

        def once() -> Any:
            return self._once(method, path, query=query, body=body)

        return once() if method == "POST" else self._backoff.run(once, pause=pause_with(self._backoff))

    def list_entries(
        self, path: str, *, most: int | None = None, key: str = "", query: Mapping[str, object] | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of all pages of a listing, at most `most`. `key`: the member of a page that lists them.

        Raise Trouble for a page without a list, for a repeated page, and for a listing that never ends.
        """
        from cvl_ci import bounded

        before, count, until = None, 0, time.monotonic() + bounded.LISTING_SECONDS
        for number in range(1, MOST_PAGES + 1):
            if time.monotonic() > until:
                raise Trouble(f"the pages of {path} take too long")
            page = self.ask("GET", path, query={**(query or {}), "per_page": PAGE, "page": number})
            batch = entries(member(page, key, list, of=path) if key else page, of=path)
            if batch and batch == before:
                raise Trouble(f"page {number} of {path} is page {number - 1} again")
            yield from batch if most is None else batch[: most - count]
            count, before = count + len(batch), batch
            if len(batch) < PAGE or (most is not None and count >= most):
                return
        raise Trouble(f"{path} has more than {MOST_PAGES} pages")

    def login(self) -> str:
        """Return the owner of the token; empty where the token may not ask, as the workflow's own. Raise Trouble."""
        try:
            return str(member(self.ask("GET", "/user"), "login", str, of="the token's user"))
        except Trouble as trouble:
            if trouble.status in {401, 403, 404}:
                return ""
            raise

    def _once(
        self, method: str, path: str, *, query: Mapping[str, object] | None, body: Mapping[str, object] | None
    ) -> Any:
        from cvl_ci import bounded

        try:
            answer = self._opened().request(
                method,
                f"{self._api}{path}",
                params={name: str(value) for name, value in (query or {}).items()},
                json=dict(body) if body is not None else None,
                timeout=self._seconds,
                allow_redirects=False,
            )
            return _believed(answer)
        except Trouble:
            raise
        except bounded.OutOfBounds as error:
            raise Trouble(RENAMED if "elsewhere" in str(error) else str(error)) from None
        except bounded.NoJson as error:
            raise Trouble(str(error), again=True) from None
        except Exception as error:  # noqa: BLE001  requests, urllib3, idna and the socket have more than one can name
            words = f"{type(error).__name__}: {str(error)[:200]}".replace(self._token or "\0", "***")
            raise Trouble(words, again=isinstance(error, OSError)) from None

    def _opened(self) -> Session:
        if self._session is None:
            from cvl_ci import bounded

            self._session = bounded.session(authorization=f"token {self._token}")
            self._session.headers.update(
                {"Accept": "application/vnd.github+json", "User-Agent": "cvl-ci", "X-GitHub-Api-Version": VERSION}
            )
        return self._session


def entries(page: object, *, of: str) -> list[Mapping[str, Any]]:
    """Return the objects of a page. Raise Trouble for any other value: it is never an empty page."""
    if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
        raise Trouble(f"the answer about {of} is not a list of objects")
    return page


def member(answer: object, key: str, kind: type, *, of: str) -> Any:
    """Return what GitHub's description says is always there. Raise Trouble."""
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise Trouble(f"the answer about {of} has no `{key}` as GitHub gives it")
    return value


def is_final(trouble: Trouble) -> bool:
    """Return whether another try gets the same answer."""
    return wait(trouble, now=0.0, own=0.0) is None


def wait(trouble: Trouble, *, now: float, own: float) -> float | None:
    """Return the seconds until the next try; None: there is no use in one. `own`: the pause of our own backoff."""
    headers, words = trouble.headers, str(trouble).lower()
    if trouble.status in {403, 429}:
        if _is_number(headers.get("retry-after", "")):
            return float(headers["retry-after"])
        if headers.get("x-ratelimit-remaining") == "0" and _is_number(headers.get("x-ratelimit-reset", "")):
            return max(1.0, float(headers["x-ratelimit-reset"]) - now)
        return 60.0 if trouble.status == 429 or "secondary rate limit" in words else None
    return own if trouble.status >= 500 or trouble.again else None


def pause_with(backoff: Backoff, *, now: Callable[[], float] = time.time) -> Callable[[Exception, int], float | None]:
    """Return the `pause` of a backoff: GitHub's own wait, and no further try past the longest one."""

    def pause(error: Exception, attempt: int) -> float | None:
        if not isinstance(error, Trouble):
            return None
        seconds = wait(error, now=now(), own=backoff.seconds(attempt))
        return None if seconds is None or seconds > LONGEST_WAIT else seconds

    return pause


def _believed(answer: Response) -> Any:
    from cvl_ci import bounded

    if answer.status_code >= 400:
        raise Trouble(_complaint(answer), status=answer.status_code, headers=answer.headers)
    if answer.status_code == 204:
        return None
    if answer.status_code not in {200, 201}:
        raise Trouble(f"answer {answer.status_code}", status=answer.status_code, again=True)
    return bounded.parsed(answer.content)


def _complaint(answer: Response) -> str:
    """Return GitHub's `message`, or what stands in its place: a web page has none."""
    from cvl_ci import bounded

    try:
        body = bounded.parsed(answer.content)
    except bounded.NoJson as error:
        return f"answer {answer.status_code}, {error}"
    message = body.get("message") if isinstance(body, dict) else None
    return (
        f"answer {answer.status_code}: {message[:200]}" if isinstance(message, str) else f"answer {answer.status_code}"
    )


def _is_number(text: str) -> bool:
    """Short enough that no wait made of it is absurd."""
    return text.isascii() and text.isdecimal() and len(text) <= 12
