"""One request until it is answered: patient with a service in trouble, silent about what opens it.

A signed URL or a token never becomes part of an exception: requests' own exceptions hold the URL, so none of them
leaves this file, and urllib3 does not write its debug line, which holds the URL too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import requests
from requests.utils import should_bypass_proxies
from urllib3.exceptions import HTTPError

from cvl_ci import bounded
from cvl_ci.backoff import Backoff
from cvl_ci.errors import ArtifactError

TROUBLED = frozenset({408, 429, 500, 502, 503, 504})
SECONDS_TO_CONNECT, SECONDS_OF_SILENCE = 15, 120
MOST_BYTES = 1 << 20
"""Of what a service answers; who downloads says how much more it may be."""
MOST_SECONDS = 600.0
"""For the head of one answer, and again for its body."""
_ENVIRONMENT = threading.Lock()
"""requests puts `no_proxy` into os.environ for a moment (utils.py, set_environ): two at once break each other."""
STILL_THERE = "The files are still in the workspace."


BACKOFF = Backoff(tries=5, first_seconds=3.0, growth=1.5, jitter=0.5)
"""As @actions/artifact pauses (internal/shared/artifact-twirp-client.ts)."""


class _NoAnswer(Exception):
    """A try without a final answer, in words without an address."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`location`: where it sends us instead."""

    status: int
    body: bytes
    location: str = ""

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


def settled(answer: Answer) -> bool:
    return answer.status not in TROUBLED


class Http:
    """`environ`: proxies and certificates are taken from it; nothing else is, no .netrc least of all."""

    def __init__(self, *, environ: Mapping[str, str], backoff: Backoff = BACKOFF, connections: int) -> None:
        self._environ = environ
        self._backoff = backoff
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE") or True
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, bounded.TimedAdapter(seconds=MOST_SECONDS, connections=connections))
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)

    def ask(
        self,
        method: str,
        url: str,
        *,
        what: str,
        headers: Mapping[str, str],
        body: bytes | bytearray,
        final: Callable[[Answer], bool] = settled,
        abandoned: Callable[[], bool] = lambda: False,
        most: int = MOST_BYTES,
    ) -> Answer:
        """Ask again until an answer is final.

        `what`: the words for a person in place of the URL. `most`: bytes of an answer; a longer answer counts as none.
        """

        def once() -> Answer:
            if abandoned():
                raise ArtifactError(f"{what} was given up.", money=STILL_THERE)
            answer = self._once(method, url, headers=headers, body=body, most=most)
            if not final(answer):
                raise _NoAnswer(f"answer {answer.status}")
            return answer

        try:
            return self._backoff.run(once, pause=self._pause)
        except _NoAnswer as problem:
            raise ArtifactError(f"{what} failed {self._backoff.tries} times: {problem}.", money=STILL_THERE) from None

    def _pause(self, error: Exception, attempt: int) -> float | None:
        return self._backoff.seconds(attempt) if isinstance(error, _NoAnswer) else None

    def close(self) -> None:
        self._session.close()

    def _once(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | bytearray, most: int) -> Answer:
        try:
            response = self._session.request(
                method,
                url,
                headers=headers,
                data=body,  # type: ignore[arg-type]  # a bytearray is sent as it is, without a copy
                allow_redirects=False,
                proxies=self._proxies(url),
                timeout=(SECONDS_TO_CONNECT, SECONDS_OF_SILENCE),
                stream=True,
            )
            content = _within(response, most)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise _NoAnswer(type(error).__name__) from None  # a hostile address alone is a ValueError of urllib's
        return Answer(status=response.status_code, body=content, location=response.headers.get("Location", ""))

    def _proxies(self, url: str) -> dict[str, str]:
        variables = {name.lower(): value for name, value in self._environ.items() if value}
        with _ENVIRONMENT:
            bypassed = should_bypass_proxies(url, variables.get("no_proxy", ""))
        if bypassed:
            return {}
        return {scheme: variables[f"{scheme}_proxy"] for scheme in ("http", "https") if f"{scheme}_proxy" in variables}


def _within(response: requests.Response, most: int) -> bytes:
    """Return the body. Raises ArtifactError. A header's length is only the sender's claim."""
    with response:
        try:
            return bounded.read(response, most=most, until=time.monotonic() + MOST_SECONDS)
        except bounded.OutOfBounds as error:
            raise ArtifactError(f"{error}") from None
