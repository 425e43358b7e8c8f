"""The Services port over HTTP: one connection a request, bounded in time and size, without redirects and proxies."""

from __future__ import annotations

import http.client
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from cvl_ci.ports.services import LARGEST_ANSWER, ServiceAnswer, ServiceRequest
from cvl_ci.result.sanitize import plain

_MARK = "X-Cvl-Ci"
_PIECE = 65536


class HttpServices:
    """The requests of this computer."""

    def ask(self, request: ServiceRequest) -> ServiceAnswer:
        start = time.monotonic()
        try:
            status, body, mark = _exchange(request, until=start + request.timeout_seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            seconds = time.monotonic() - start
            return ServiceAnswer(seconds=seconds, problem=plain(f"{type(error).__name__}: {error}")[:200])
        return ServiceAnswer(status=status, body=body, seconds=time.monotonic() - start, is_from_proxy=mark == "proxy")


class _TimedSocket(socket.socket):
    """A socket with one deadline for everything. http.client reads a head in many pieces, and each asks here."""

    until = 0.0

    def connect(self, address: Any, /) -> None:
        self._wait()
        super().connect(address)

    def sendall(self, *words: Any) -> None:
        self._wait()
        super().sendall(*words)

    def recv_into(self, *words: Any) -> int:
        self._wait()
        return super().recv_into(*words)

    def _wait(self) -> None:
        """Give the next step the rest of the time. Raise TimeoutError when there is none."""
        seconds_left = self.until - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("the answer took too long")
        self.settimeout(seconds_left)


def _exchange(request: ServiceRequest, *, until: float) -> tuple[int, bytes, str | None]:
    parts = urlsplit(request.url)
    headers = {"Authorization": f"Bearer {request.token}"} if request.token else {}
    headers |= {"Content-Type": "application/json"} if request.body else {}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    with _TimedSocket(socket.AF_INET, socket.SOCK_STREAM) as sock:  # a service's URL has an IPv4 address
        sock.until = until
        sock.connect((connection.host, connection.port))
        connection.sock = sock
        connection.request("POST" if request.body else "GET", request.path, body=request.body or None, headers=headers)
        with connection.getresponse() as answer:
            body = b""
            while len(body) < LARGEST_ANSWER and (piece := answer.read1(min(_PIECE, LARGEST_ANSWER - len(body)))):
                body += piece
            return answer.status, body, answer.getheader(_MARK)
