"""The Services port over HTTP: one connection a request, bounded in time and size, without redirects and proxies."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cvl_ci.local import answer_check
from cvl_ci.planning import certificate
from cvl_ci.ports.services import LARGEST_ANSWER, ServiceAnswer, ServiceRequest
from cvl_ci.result.sanitize import plain

_MARK = "X-Cvl-Ci"
_PIECE = 65536


class HttpServices:
    """The requests of this computer. `environment`: for the process that checks answers; no secret of it is used."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment or {}

    def ask(self, request: ServiceRequest) -> ServiceAnswer:
        start = time.monotonic()
        try:
            status, body, mark = _exchange(request, until=start + request.timeout_seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            seconds = time.monotonic() - start
            problem = plain(f"{type(error).__name__}: {error}")[:200]
            is_distrusted = isinstance(error, ssl.SSLCertVerificationError)
            return ServiceAnswer(seconds=seconds, problem=problem, is_distrusted=is_distrusted)
        return ServiceAnswer(status=status, body=body, seconds=time.monotonic() - start, is_from_proxy=mark == "proxy")

    def mismatch(self, schema: Mapping[str, object], bodies: Sequence[bytes]) -> str:
        return answer_check.mismatch(schema, bodies, environment=self._environment)


class _Timed:
    """A part of a socket: one deadline for everything. http.client reads a head in many pieces, and each asks here."""

    until = 0.0

    def wait(self) -> None:
        """Give the next step the rest of the time. Raise TimeoutError when there is none."""
        seconds_left = self.until - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("the answer took too long")
        self.settimeout(seconds_left)

    def settimeout(self, seconds: float | None, /) -> None:
        raise NotImplementedError


class _TimedSocket(socket.socket, _Timed):
    """A socket with one deadline."""

    def connect(self, address: Any, /) -> None:
        self.wait()
        super().connect(address)

    def sendall(self, *words: Any) -> None:
        self.wait()
        super().sendall(*words)

    def recv_into(self, *words: Any) -> int:
        self.wait()
        return super().recv_into(*words)


class _TimedTlsSocket(ssl.SSLSocket, _Timed):
    """A connection by TLS with one deadline, the agreement on its keys included."""

    def do_handshake(self, *words: Any) -> None:
        self.wait()
        super().do_handshake(*words)

    def send(self, *words: Any) -> int:
        self.wait()
        return super().send(*words)

    def recv_into(self, *words: Any) -> int:
        self.wait()
        return super().recv_into(*words)


def _exchange(request: ServiceRequest, *, until: float) -> tuple[int, bytes, str | None]:
    parts = urlsplit(request.url)
    headers = {"Authorization": f"Bearer {request.token}"} if request.token else {}
    headers |= {"Content-Type": "application/json"} if request.body else {}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or (443 if _is_tls(request) else 80))
    with _TimedSocket(socket.AF_INET, socket.SOCK_STREAM) as plain_socket:  # a service has an IPv4 address
        plain_socket.until = until
        plain_socket.connect((request.address or connection.host, connection.port))
        with _encrypted(plain_socket, request, connection.host) if _is_tls(request) else plain_socket as sock:
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
                if request.chain:
                    certificate.require_first(request.chain, sock)
            connection.sock = sock
            method = "POST" if request.body else "GET"
            connection.request(method, request.path, body=request.body or None, headers=headers)
            with connection.getresponse() as answer:
                body = b""
                while len(body) < LARGEST_ANSWER and (piece := answer.read1(min(_PIECE, LARGEST_ANSWER - len(body)))):
                    body += piece
                return answer.status, body, answer.getheader(_MARK)


def _is_tls(request: ServiceRequest) -> bool:
    return urlsplit(request.url).scheme == "https"


def _encrypted(sock: _TimedSocket, request: ServiceRequest, host: str) -> _TimedTlsSocket:
    """Return the connection for TLS with this host, before their handshake.

    It trusts the given certificate; without one, the authorities of this computer.
    """
    if request.chain:
        context = certificate.trusting(request.chain, checks_name=not _is_address(host))
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TimedTlsSocket
    name = host if context.check_hostname else None
    encrypted = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
    if not isinstance(encrypted, _TimedTlsSocket):
        raise TypeError("a socket without a deadline")
    encrypted.until = sock.until
    return encrypted


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
