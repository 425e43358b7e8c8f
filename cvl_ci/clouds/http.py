"""A cloud's REST API over `requests`: asked again when it is busy, as long as it says; refused in words of ours.

An answer is believed only where it has what a real one always has: `listed` and `found_in` raise where it has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from cvl_ci.backoff import Backoff

if TYPE_CHECKING:
    from requests import Response, Session

BACKOFF = Backoff(tries=6, first_seconds=0.5, longest_seconds=30.0, jitter=0.5)
"""A server that asks for more than 30 s is asked again in the next round of the release."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
TIMEOUT = (5, 30)
PAGES = 200
"""Of one listing: more is a server that repeats itself. Each page holds hundreds of machines."""


class Refused(Exception):
    """The provider answered, and no. `code`: the word it has for it, where it gave one."""

    def __init__(self, words: str, *, status: int, code: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.code = code


class _Busy(Exception):
    """An answer that asks for another try."""

    def __init__(self, answer: Response) -> None:
        super().__init__(f"answer {answer.status_code}")
        self.answer = answer


class Unproved(Refused):
    """An answer without what a real one always has. It says nothing of what is there."""

    def __init__(self, words: str) -> None:
        super().__init__(f"{words}, so it proves nothing", status=200)


def session(authorization: str = "") -> Session:
    from cvl_ci import bounded

    return bounded.session(authorization=authorization)


def patient(asking: Session) -> None:
    """Give a session of somebody else's the same bounds: no redirect, no answer without an end."""
    from cvl_ci import bounded

    bounded.bind(asking)


def ask(
    asking: Session,
    method: str,
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    json: object = None,
    absent_is_fine: bool = False,
) -> Any:
    """Return its JSON. Raise Refused, or what requests raises. Of an order (no GET) an empty answer is fine."""
    from cvl_ci import bounded

    answer = _patiently(asking, method, url, params=params, json=json)
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


class Pages:
    """The tokens of one listing. One that comes again, or a listing without a last page, is no answer."""

    def __init__(self, kind: str) -> None:
        from cvl_ci import bounded

        self._kind = kind
        self._seen: set[str] = set()
        self._until = monotonic() + bounded.LISTING_SECONDS

    def next(self, token: object) -> str:
        """Return the token of the next page; empty: this was the last one."""
        if token is None or token == "":
            return ""
        if not isinstance(token, str):
            raise Unproved(f"the next page of {self._kind} has no name")
        if token in self._seen or len(self._seen) + 1 >= PAGES or monotonic() > self._until:
            raise Unproved(f"{self._kind} have no last page")
        self._seen.add(token)
        return token


def has(answer: object, key: str, *, of: str) -> Any:
    """Return what stands under a key that a real answer always has. Raise Unproved."""
    if not isinstance(answer, Mapping):
        raise Unproved(f"the answer about {of} is {_named(answer)} and no object")
    if answer.get("error") or answer.get("errors"):
        raise Unproved(f"the answer about {of} is an error: {_words(answer)}")
    if key not in answer:
        raise Unproved(f"the answer about {of} has no `{key}`")
    return answer[key]


def entries(listed: object, *, of: str) -> Iterator[Mapping[str, Any]]:
    """Give the objects of a list. Raise Unproved for what is no list, or for an entry that is no object."""
    if not isinstance(listed, list):
        raise Unproved(f"the answer about {of} holds {_named(listed)} and no list")
    for entry in listed:
        if not isinstance(entry, Mapping):
            raise Unproved(f"the answer about {of} lists {_named(entry)} and no object")
        yield entry


def text(entry: Mapping[str, Any], key: str, *, of: str) -> str:
    """Return what every entry has, by which ours are told from others. Raise Unproved."""
    found = entry.get(key)
    if not isinstance(found, str) or not found:
        raise Unproved(f"an entry of the answer about {of} has no `{key}`")
    return found


def _patiently(asking: Session, method: str, url: str, *, params: Any, json: Any) -> Response:
    """Return the first final answer, or the last busy one. Every request here may be sent twice."""

    def once() -> Response:
        answer = asking.request(method, url, params=params, json=json, timeout=TIMEOUT, allow_redirects=False)
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
        asked = float(text) if text.isdecimal() and len(text) < 9 else None
        return BACKOFF.seconds(attempt, asked=asked)
    is_hiccup = isinstance(error, OSError) and not isinstance(error, bounded.OutOfBounds)
    return BACKOFF.seconds(attempt) if is_hiccup else None


def _refused(answer: Response) -> Refused:
    """`{"error": {"code", "message"}}` is what Google, Azure and Lambda say alike."""
    from cvl_ci import bounded

    try:
        body = bounded.parsed(answer.content)
    except bounded.NoJson:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    detail = error if isinstance(error, dict) else {"message": error if isinstance(error, str) else ""}
    why = {401: "these credentials are not accepted, or have expired", 403: "these credentials may not do this"}
    words = [why.get(answer.status_code, ""), str(detail.get("message") or "")[:200]]
    text = ": ".join(word for word in words if word) or answer.reason
    return Refused(
        f"HTTP {answer.status_code}: {text}",
        status=answer.status_code,
        code=str(detail.get("status") or detail.get("code") or ""),
    )


def _named(found: object) -> str:
    return {"NoneType": "nothing", "list": "a list", "dict": "an object", "str": "a text"}.get(
        type(found).__name__, f"a {type(found).__name__}"
    )


def _words(answer: Mapping[str, Any]) -> str:
    """Whatever shape the error has, its first words."""
    error = answer.get("error") or answer.get("errors")
    first = error[0] if isinstance(error, list) and error else error
    said = first.get("message") or first.get("code") if isinstance(first, Mapping) else first
    return str(said)[:200]
