"""The port that sends a request to a service, as a person with its token does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

LARGEST_ANSWER = 1 << 20
"""The most bytes that are read of an answer."""


@dataclass(frozen=True, kw_only=True)
class ServiceRequest:
    """One request. `url`: of the service, without a path. `body`: JSON for a POST; empty: a GET.

    `token`: empty for a stranger's request. `address`: the host to connect to; empty: that of the URL. `chain`: the
    certificates of an `https://` URL, as PEM. Then it trusts the first of them alone; empty: those of this computer.
    """

    url: str
    path: str = "/"
    token: str = ""
    body: bytes = b""
    address: str = ""
    chain: str = ""
    timeout_seconds: float = 15.0
    """The longest time of the whole request, connection and body included."""


@dataclass(frozen=True, kw_only=True)
class ServiceAnswer:
    """The answer: its status, its first LARGEST_ANSWER bytes and its time. A server chose the body: it is hostile.

    `is_from_proxy`: the proxy of cvl-ci answered, and not the server. `problem`: there was no answer, with the reason;
    the status is then 0. `is_distrusted`: the reason is the certificate, which no later request changes.
    """

    status: int = 0
    body: bytes = b""
    seconds: float = 0.0
    is_from_proxy: bool = False
    problem: str = ""
    is_distrusted: bool = False


class Services(Protocol):
    def ask(self, request: ServiceRequest) -> ServiceAnswer:
        """Send one request and return the answer. It follows no redirect, so the token goes to no other host."""

    def mismatch(self, schema: Mapping[str, object], bodies: Sequence[bytes]) -> str:
        """Return how the first answer that differs from a JSON Schema does so, in one line; empty: all match.

        It has a limit of time and of memory. An answer that could not be checked counts as different.
        """
