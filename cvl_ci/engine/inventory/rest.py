"""A cloud's REST API over `requests`: asked again when it is busy, as long as it says; refused in words of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Response, Session

TRIES = 5
LONGEST_WAIT = 30
"""Seconds that one Retry-After is believed for: what takes longer is asked in the next round of the release."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
TIMEOUT = (5, 30)
PAGES = 2_000
"""More is a server that repeats itself."""


class Refused(Exception):
    """The provider answered, and no. `code`: the word it has for it, where it gave one."""

    def __init__(self, words: str, *, status: int, code: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.code = code


def session(authorization: str = "") -> Session:
    import requests

    new = requests.Session()
    if authorization:
        new.headers["Authorization"] = authorization
    patient(new)
    return new


def patient(asking: Session) -> None:
    """All that is asked here may be asked twice: looks, and ends of what is named by its id."""
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=TRIES,
        status_forcelist=BUSY,
        allowed_methods=None,
        backoff_factor=0.5,
        backoff_jitter=0.5,
        retry_after_max=LONGEST_WAIT,
        raise_on_status=False,
    )
    asking.mount("https://", HTTPAdapter(max_retries=retry))


def ask(
    asking: Session,
    method: str,
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    json: object = None,
    absent_is_fine: bool = False,
) -> Any:
    """Its JSON; an empty answer is an empty mapping. Raises Refused."""
    answer = asking.request(method, url, params=params, json=json, timeout=TIMEOUT)
    if answer.status_code == 404 and absent_is_fine:
        return {}
    if answer.status_code >= 400:
        raise _refused(answer)
    if not answer.content:
        return {}
    try:
        return answer.json()
    except ValueError:
        raise Refused("the answer is no JSON", status=answer.status_code) from None


def endless(kind: str) -> Refused:
    return Refused(f"{kind} have no last page", status=200)


def _refused(answer: Response) -> Refused:
    """`{"error": {"code", "message"}}` is what Google, Azure and Lambda say alike."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    said = error if isinstance(error, dict) else {"message": error if isinstance(error, str) else ""}
    why = {401: "these credentials are not accepted, or have expired", 403: "these credentials may not do this"}
    words = [why.get(answer.status_code, ""), str(said.get("message") or "")[:200]]
    text = ": ".join(word for word in words if word) or answer.reason
    return Refused(
        f"HTTP {answer.status_code}: {text}",
        status=answer.status_code,
        code=str(said.get("status") or said.get("code") or ""),
    )
