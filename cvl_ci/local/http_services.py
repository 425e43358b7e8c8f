"""The Services port over HTTP: one connection a request, bounded in time and size, without redirects and proxies."""

from __future__ import annotations

import http.client
import socket
import time
from urllib.parse import urlsplit

from cvl_ci.ports.services import LARGEST_ANSWER, ServiceAnswer, ServiceRequest
from cvl_ci.result.sanitize import plain

_MARK = "X-Cvl-Ci"
_PIECE = 65536


class HttpServices:
    """The requests of this computer."""

    def ask(self, request: ServiceRequest) -> ServiceAnswer:
        began = time.monotonic()
        parts = urlsplit(request.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=request.timeout_seconds)
        try:
            status, body, mark = _exchange(connection, request, until=began + request.timeout_seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            seconds = time.monotonic() - began
            return ServiceAnswer(seconds=seconds, problem=plain(f"{type(error).__name__}: {error}")[:200])
        finally:
            connection.close()
        return ServiceAnswer(status=status, body=body, seconds=time.monotonic() - began, is_from_proxy=mark == "proxy")


def _exchange(
    connection: http.client.HTTPConnection, request: ServiceRequest, *, until: float
) -> tuple[int, bytes, str | None]:
    headers = {"Authorization": f"Bearer {request.token}"} if request.token else {}
    headers |= {"Content-Type": "application/json"} if request.body else {}
    connection.request("POST" if request.body else "GET", request.path, body=request.body or None, headers=headers)
    _wait(connection.sock, until)
    answer = connection.getresponse()
    body = b""
    while len(body) < LARGEST_ANSWER:
        _wait(connection.sock, until)
        piece = answer.read1(min(_PIECE, LARGEST_ANSWER - len(body)))
        if not piece:
            break
        body += piece
    return answer.status, body, answer.getheader(_MARK)


def _wait(sock: socket.socket | None, until: float) -> None:
    """Give the next read the rest of the time. Raise TimeoutError when there is none."""
    seconds_left = until - time.monotonic()
    if seconds_left <= 0:
        raise TimeoutError("the answer took too long")
    if sock is not None:
        sock.settimeout(seconds_left)
