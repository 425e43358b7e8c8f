"""The port that sends a request to a service, as a person with its token does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LARGEST_ANSWER = 1 << 20
"""The most bytes that are read of an answer."""


@dataclass(frozen=True, kw_only=True)
class ServiceRequest:
    """One request. `url`: of the service, without a path. `body`: JSON for a POST; empty: a GET.

    `token`: empty for a stranger's request.
    """

    url: str
    path: str
    token: str = ""
    body: bytes = b""
    timeout_seconds: float = 15.0
    """The longest time of the whole request, connection and body included."""


@dataclass(frozen=True, kw_only=True)
class ServiceAnswer:
    """The answer: its status, its first LARGEST_ANSWER bytes and its time. A server chose the body: it is hostile.

    `is_from_proxy`: the proxy of cvl-ci answered, and not the server. `problem`: there was no answer, with the reason;
    the status is then 0.
    """

    status: int = 0
    body: bytes = b""
    seconds: float = 0.0
    is_from_proxy: bool = False
    problem: str = ""


class Services(Protocol):
    def ask(self, request: ServiceRequest) -> ServiceAnswer:
        """Send one request and return the answer. It follows no redirect, so the token goes to no other host."""
