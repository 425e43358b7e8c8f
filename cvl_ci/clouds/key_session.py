"""The session of a provider that knows us by one key: bounded and patient, with the members an answer must have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cvl_ci.clouds import http

if TYPE_CHECKING:
    from requests import Session


class KeySession:
    """Requests with a bearer token. `key` reads the token when the first request needs it."""

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key

    def list_objects(
        self, method: str, url: str, *, under: Sequence[str], of: str, json: object = None
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a listing. `under`: the members that lead to it, which every real answer has.

        Raise Unproved for an answer without them, ProviderRefused for a refusal, and requests' own for none at all.
        """
        answer = http.ask(self._session, method, url, json=json)
        for member in under:
            answer = http.has(answer, member, of=of)
        return http.entries(answer, of=of)

    def end(self, method: str, url: str, *, json: object = None) -> None:
        """Order an end. An absent resource is a success; a refusal raises ProviderRefused."""
        http.ask(self._session, method, url, json=json, absent_is_fine=True)

    @cached_property
    def _session(self) -> Session:
        return http.session(f"Bearer {self._key()}")
