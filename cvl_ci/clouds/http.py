"""A cloud's REST API over `requests`: it repeats requests to a busy server and explains refusals.

It believes an answer only with the parts that a real one always has: `has`, `entries` and `text` raise without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from cvl_ci.backoff import Backoff
from cvl_ci.result import provider_limits

if TYPE_CHECKING:
    from requests import Response, Session

BACKOFF = Backoff(tries=6, first_seconds=0.5, longest_seconds=30.0, jitter=0.5)
"""A server that wants a longer wait than 30 s gets its next request in the next round of the release."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
TIMEOUT = (5, 30)
PAGES = 200
"""The most pages of one listing: a server with more repeats itself. Each page holds hundreds of machines."""


class ProviderRefused(Exception):
    """The provider answered with a refusal. `code`: its own word for the reason, if it sent one."""

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def is_denial(error: Exception) -> bool:
    """Return whether the provider refused these credentials. Some also answer 403 to too many requests."""
    if not isinstance(error, ProviderRefused) or error.status not in {401, 403}:
        return False
    return not provider_limits.is_rate(f"{error.code} {error}")


class _Busy(Exception):
    """An answer that asks for another try."""

    def __init__(self, answer: Response) -> None:
        super().__init__(f"answer {answer.status_code}")
        self.answer = answer


class Unproved(ProviderRefused):
    """An answer without a part that a real one always has. It proves nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}, so it proves nothing", status=200)


def session(authorization: str = "") -> Session:
    from cvl_ci import bounded

    return bounded.session(authorization=authorization)


def patient(session: Session) -> None:
    """Bound a session of another library in the same way: no redirects, no endless answers."""
    from cvl_ci import bounded

    bounded.bind(session)


def ask(
    session: Session,
    method: str,
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    json: object = None,
    absent_is_fine: bool = False,
) -> Any:
    """Return the JSON of the answer; None for an empty answer to DELETE. Raises ProviderRefused, errors of requests."""
    from cvl_ci import bounded

    answer = _with_retries(session, method, url, params=params, json=json)
    if answer.status_code == 404 and absent_is_fine:
        return None
    if answer.status_code >= 400:
        raise _refused(answer)
    if method == "DELETE" and not answer.content:
        return None
    try:
        return bounded.parsed(answer.content)
    except bounded.NoJson as error:
        raise Unproved(str(error)) from None


def reply(session: Session, url: str, *, params: Mapping[str, str]) -> Response:
    """Return the final answer to a query, of any status, for an API whose answers are not JSON."""
    return _with_retries(session, "GET", url, params=params, json=None)


class Pages:
    """The tokens of one listing. A repeated token, or a listing without a last page, raises Unproved."""

    def __init__(self, kind: str) -> None:
        from cvl_ci import bounded

        self._kind = kind
        self._tokens: set[str] = set()
        self._until = monotonic() + bounded.LISTING_SECONDS

    def next(self, token: object) -> str:
        """Return the token of the next page, or an empty text after the last page."""
        if token is None or token == "":
            return ""
        if not isinstance(token, str):
            raise Unproved(f"the next page of {self._kind} has no name")
        if token in self._tokens or len(self._tokens) + 1 >= PAGES or monotonic() > self._until:
            raise Unproved(f"{self._kind} have no last page")
        self._tokens.add(token)
        return token


def has(answer: object, key: str, *, of: str) -> Any:
    """Return the value of a key that a real answer always has. Raises Unproved without it."""
    if not isinstance(answer, Mapping):
        raise Unproved(f"the answer about {of} is {_named(answer)}, not an object")
    if answer.get("error") or answer.get("errors"):
        raise Unproved(f"the answer about {of} is an error: {_words(answer)}")
    if key not in answer:
        raise Unproved(f"the answer about {of} has no `{key}`")
    return answer[key]


def entries(value: object, *, of: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a list. Raises Unproved for another type, or for an entry of another type."""
    if not isinstance(value, list):
        raise Unproved(f"the answer about {of} holds {_named(value)}, not a list")
    for entry in value:
        if not isinstance(entry, Mapping):
            raise Unproved(f"the answer about {of} lists {_named(entry)}, not an object")
        yield entry


def text(entry: Mapping[str, Any], key: str, *, of: str) -> str:
    """Return a text that each entry has and that identifies our resources. Raises Unproved without it."""
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise Unproved(f"an entry of the answer about {of} has no `{key}`")
    return value


def _with_retries(session: Session, method: str, url: str, *, params: Any, json: Any) -> Response:
    """Return the first final answer, or the last busy one.

    A repetition is safe: all requests are queries, or removals by id.
    """

    def once() -> Response:
        answer = session.request(method, url, params=params, json=json, timeout=TIMEOUT, allow_redirects=False)
        if answer.status_code in BUSY:
            raise _Busy(answer)
        return answer

    try:
        return BACKOFF.run(once, pause=_pause)
    except _Busy as busy:
        return busy.answer


def _pause(error: Exception, attempt: int) -> float | None:
    from cvl_ci import bounded

    if isinstance(error, _Busy):
        text = error.answer.headers.get("Retry-After", "")
        wanted_seconds = float(text) if text.isdecimal() and len(text) < 9 else None
        return BACKOFF.seconds(attempt, requested=wanted_seconds)
    is_hiccup = isinstance(error, OSError) and not isinstance(error, bounded.OutOfBounds)
    return BACKOFF.seconds(attempt) if is_hiccup else None


def _refused(answer: Response) -> ProviderRefused:
    """Return the refusal. Google, Azure and Lambda all send `{"error": {"code", "message"}}`."""
    from cvl_ci import bounded

    try:
        body = bounded.parsed(answer.content)
    except bounded.NoJson:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    detail = error if isinstance(error, dict) else {"message": error if isinstance(error, str) else ""}
    why = {
        401: "the provider does not accept these credentials, or they have expired",
        403: "these credentials may not do this",
    }
    parts = [why.get(answer.status_code, ""), str(detail.get("message") or "")[:200]]
    text = ": ".join(part for part in parts if part) or answer.reason
    return ProviderRefused(
        f"HTTP {answer.status_code}: {text}",
        status=answer.status_code,
        code=str(detail.get("status") or detail.get("code") or ""),
    )


def _named(value: object) -> str:
    return {"NoneType": "nothing", "list": "a list", "dict": "an object", "str": "a text"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def _words(answer: Mapping[str, Any]) -> str:
    """Return the first words of an error of any shape."""
    error = answer.get("error") or answer.get("errors")
    first = error[0] if isinstance(error, list) and error else error
    first_words = first.get("message") or first.get("code") if isinstance(first, Mapping) else first
    return str(first_words)[:200]
