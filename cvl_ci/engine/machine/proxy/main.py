"""Let only a person with the token reach the server of this machine: a small HTTP proxy in front of it.

A program of its own for the machine's Python:
`main READY PUBLIC-PORT SERVER-PORT DIGEST NETWORK... [--tls CHAIN KEY]`. With a certificate it takes HTTPS alone.
It knows the SHA-256 of the token, and not the token. `DIGEST,DIGEST2,PATH` takes a second token for a GET of that path
alone: the probe of a controller. It accepts `Authorization: Bearer TOKEN`, and for browsers the same token as the
password of Basic. It removes that header, so the server never sees it. Each connection carries one request: a shared
proxy on the way cannot pass a second person's request through the first person's connection. A WebSocket is the one
exception, once the server has accepted it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import hmac
import ipaddress
import os
import resource
import select
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from .redirects import Redirects, name

LARGEST_HEAD = 64 << 10
HEAD_SECONDS, CONNECT_SECONDS, UPGRADE_SECONDS, IDLE_SECONDS = 10.0, 10.0, 60.0, 3600.0
"""HEAD_SECONDS and UPGRADE_SECONDS: for a whole head, however steadily it drips."""
OF_A_CONNECTION = {b"connection", b"keep-alive", b"proxy-connection", b"upgrade"}
OF_A_BODY = {b"content-length", b"transfer-encoding", b"content-encoding", b"trailer"}
MOST_CONNECTIONS, MOST_STRANGERS = 256, 256
"""With the token, and before they show it. One more stranger ends the oldest: a caller shows it in one moment."""
MOST_FILES = 1 << 16
"""Enough for both by TLS: 3 descriptors of each connection with the token, and 2 of each stranger's."""
TLS_HANDSHAKE = b"\x16"
"""The first byte of a connection by TLS: the type of its first record (RFC 8446, 5.1)."""
PR_SET_PDEATHSIG, IN_USE = 1, 98
"""IN_USE: EADDRINUSE, as the exit code of a port that another program has."""

Value = TypeVar("Value")


class Proxy(socketserver.ThreadingTCPServer):
    """Listener of the public port."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, public_port: int, server_port: int, digest: str, networks: list[str], tls: ssl.SSLContext | None = None
    ) -> None:
        self.server_port, self.tls = server_port, tls
        self.digest, self.probe_digest, path = (*digest.split(",", 2), "", "")[:3]
        self.probe_line = f"GET {path} HTTP/".encode()
        self.networks = [ipaddress.ip_network(network) for network in networks]
        self.slots, self.lock = threading.BoundedSemaphore(MOST_CONNECTIONS), threading.Lock()
        self.strangers: dict[socket.socket, None] = {}
        super().__init__(("", public_port), Connection)

    def verify_request(self, request: object, client_address: object) -> bool:
        """Refuse a connection from outside the networks, or one too many, before anything is read."""
        host = client_address[0] if isinstance(client_address, tuple) else ""
        return any(ipaddress.ip_address(host) in network for network in self.networks)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Count the connection as a stranger's, before it has a thread. Hang up on the oldest one beyond the limit."""
        with self.lock:
            self.strangers[request] = None
            oldest = next(iter(self.strangers)) if len(self.strangers) > MOST_STRANGERS else None
            if oldest is not None:
                del self.strangers[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.know(request)
        super().shutdown_request(request)

    def know(self, request: socket.socket) -> None:
        """Count the connection as a stranger's no more."""
        with self.lock:
            self.strangers.pop(request, None)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a broken connection: the log belongs to the server."""


class Encrypted:
    """The socket of a connection by TLS, for two threads: one of them reads while the other one writes.

    OpenSSL takes one call at a time for a connection. So no call waits inside it.
    """

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        self.raw, self.seconds, self.is_over = raw, HEAD_SECONDS, False
        self.lock = threading.Lock()
        # With a descriptor of its own, so that the listener can still hang up on `raw`.
        self.tls = context.wrap_socket(raw.dup(), server_side=True, do_handshake_on_connect=False)
        self.tls.setblocking(False)

    def settimeout(self, seconds: float) -> None:
        self.seconds = seconds

    def recv(self, size: int) -> bytes:
        return b"" if self.is_over else self.act(partial(self.tls.recv, size))

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.act(partial(self.tls.send, rest)) :]

    def shutdown(self, _direction: int) -> None:
        """Tell the caller that the answer ends here, so that a cut answer is not taken for a whole one."""
        with contextlib.suppress(OSError, ValueError):
            self.act(self.say_goodbye, HEAD_SECONDS)
        self.raw.shutdown(socket.SHUT_WR)

    def say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):  # it went out, and the caller's own has not come
            self.tls.unwrap()
            self.is_over = True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_WR)
        self.tls.close()

    def act(self, call: Callable[[], Value], seconds: float | None = None) -> Value:
        """Return what OpenSSL returns, as soon as the network lets it. Raise TimeoutError, or another OSError."""
        until = time.monotonic() + (self.seconds if seconds is None else seconds)
        while True:
            try:
                with self.lock:
                    return call()
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            poll = select.poll()
            poll.register(self.raw, event)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError("the other side is too slow")


class Connection(socketserver.BaseRequestHandler):
    """One connection, with one request."""

    server: Proxy
    raw: socket.socket
    request: socket.socket | Encrypted

    def handle(self) -> None:
        self.raw = self.request  # type: ignore[assignment]  # no TLS yet
        if self.server.tls is not None and not self.is_encrypted(self.server.tls):
            return
        head, rest = read_head(self.request, HEAD_SECONDS)
        if not head:
            self.refuse("400 Bad Request", "the request could not be read")
            return
        lines = head.split(b"\r\n")
        if not self.may_enter(lines):
            self.refuse("401 Unauthorized", "the token of this deployment is needed", ask=True)
            return
        self.server.know(self.raw)
        if not self.server.slots.acquire(blocking=False):
            self.refuse("503 Service Unavailable", "too many connections")
            return
        try:
            self.pass_on(lines, rest)
        finally:
            self.server.slots.release()

    def finish(self) -> None:
        if isinstance(self.request, Encrypted):
            self.request.close()

    def is_encrypted(self, context: ssl.SSLContext) -> bool:
        """Begin TLS, in the thread of this connection. False: the other side does not speak it, or not in time."""
        try:
            self.raw.settimeout(HEAD_SECONDS)
            if self.raw.recv(1, socket.MSG_PEEK) != TLS_HANDSHAKE:
                read_head(self.raw, HEAD_SECONDS)
                self.refuse("400 Bad Request", "this port takes https:// alone")
                return False
            self.request = encrypted = Encrypted(self.raw, context)
            encrypted.act(encrypted.tls.do_handshake)  # in HEAD_SECONDS, however steadily its bytes drip
        except OSError:
            return False
        return True

    def pass_on(self, lines: list[bytes], rest: bytes) -> None:
        try:
            upstream = socket.create_connection(("127.0.0.1", self.server.server_port), timeout=CONNECT_SECONDS)
        except OSError:
            self.refuse("503 Service Unavailable", "the server does not accept connections yet")
            return
        with upstream:
            is_upgrade = asks_for_websocket(lines)
            redirects = Redirects(self.server.server_port, lines, is_tls=self.server.tls is not None)
            upstream.sendall(forwarded(lines, is_upgrade=is_upgrade, is_tls=self.server.tls is not None))
            if is_upgrade and not self.is_upgraded(upstream, redirects):
                return
            for one in (self.request, upstream):
                one.settimeout(IDLE_SECONDS)
            upstream.sendall(rest)
            to_caller = (upstream, self.request, None if is_upgrade else redirects)
            answer = threading.Thread(target=pump, args=to_caller, daemon=True)
            answer.start()
            pump(self.request, upstream, None)
            answer.join(IDLE_SECONDS)

    def is_upgraded(self, upstream: socket.socket, redirects: Redirects) -> bool:
        """Pass on the head of the server's answer. False: it refused the WebSocket, so the connection ends."""
        head, rest = read_head(upstream, UPGRADE_SECONDS)
        lines = head.split(b"\r\n")
        status = lines[0].split(b" ")[1:2]
        if status == [b"101"]:
            self.request.sendall(head + b"\r\n\r\n" + rest)
            return True
        if status and len(status[0]) == 3 and status[0][:1] in {b"2", b"3", b"4", b"5"}:
            headers = [line for line in lines[1:] if name(line) not in OF_A_BODY | OF_A_CONNECTION]
            ending = [b"Content-Length: 0", b"Connection: close", b"", b""]
            self.request.sendall(redirects.changed(b"\r\n".join([lines[0], *headers, *ending])))
        else:
            self.refuse("502 Bad Gateway", "the server did not accept the WebSocket")
        return False

    def may_enter(self, lines: list[bytes]) -> bool:
        values = [line.partition(b":")[2].strip() for line in lines[1:] if name(line) == b"authorization"]
        if len(values) != 1:
            return False
        kind, _, credentials = values[0].partition(b" ")
        token = credentials.strip()
        if kind.lower() == b"basic":
            with contextlib.suppress(ValueError):
                token = base64.b64decode(token, validate=True).partition(b":")[2]
        elif kind.lower() != b"bearer":
            return False
        digest, own = hashlib.sha256(token).hexdigest(), self.server
        is_probe = lines[0].startswith(own.probe_line) and hmac.compare_digest(digest, own.probe_digest)
        return is_probe or hmac.compare_digest(digest, own.digest)

    def refuse(self, status: str, why: str, *, ask: bool = False) -> None:
        body = f"cvl-ci: {why}\n"
        challenge = 'WWW-Authenticate: Basic realm="cvl-ci"\r\n' if ask else ""
        text = (
            f"HTTP/1.1 {status}\r\n{challenge}X-Cvl-Ci: proxy\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        )
        with contextlib.suppress(OSError):
            self.request.sendall(text.encode())


def read_head(source: socket.socket | Encrypted, seconds: float) -> tuple[bytes, bytes]:
    """Return a head and the bytes after it. Empty: it is too long, too slow, or not of HTTP.

    Half a line break inside a line is refused: the server could read a header there that this proxy did not see.
    """
    data, until = b"", time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in data and len(data) <= LARGEST_HEAD:
            source.settimeout(max(0.001, until - time.monotonic()))
            part = source.recv(16384)
            if not part or time.monotonic() > until:
                return b"", b""
            data += part
    head, end, rest = data.partition(b"\r\n\r\n")
    is_sound = bool(end) and len(head) <= LARGEST_HEAD and set(b"\r\n\0").isdisjoint(head.replace(b"\r\n", b""))
    return (head, rest) if is_sound else (b"", b"")


def asks_for_websocket(lines: list[bytes]) -> bool:
    """Return whether a request may keep its connection after the answer: a WebSocket's, which has no body."""
    values = [line.partition(b":")[2].strip().lower() for line in lines[1:] if name(line) == b"upgrade"]
    has_body = any(name(line) in OF_A_BODY and line.partition(b":")[2].strip() != b"0" for line in lines[1:])
    return lines[0].startswith(b"GET ") and values == [b"websocket"] and not has_body


def forwarded(lines: list[bytes], *, is_upgrade: bool, is_tls: bool) -> bytes:
    """Return the request for the server: without the token, for one answer, with the scheme of its URL."""
    headers = [line for line in lines[1:] if name(line) not in {b"authorization", *OF_A_CONNECTION}]
    headers = [line for line in headers if not name(line).startswith((b"forwarded", b"x-forwarded"))]
    headers.append(b"X-Forwarded-Proto: " + (b"https" if is_tls else b"http"))
    ending = [b"Connection: Upgrade", b"Upgrade: websocket"] if is_upgrade else [b"Connection: close"]
    return b"\r\n".join([lines[0], *headers, *ending, b"", b""])


def pump(source: socket.socket | Encrypted, target: socket.socket | Encrypted, redirects: Redirects | None) -> None:
    """Pass on all that comes. `redirects`: those in the head of an answer change."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: TLS on a closed socket
        if redirects is not None:
            redirects.pass_head(source.recv, target.sendall)
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def is_taken(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def encryption(chain: str, key: str) -> ssl.SSLContext:
    """Return TLS with the certificate in these files, and no version before 1.2. Raise OSError, ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(chain, key)
    return context


def main(ready: str, public_port: str, server_port: str, digest: str, *rest: str) -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MOST_FILES), hard))
    networks, files = (rest[:-3], rest[-2:]) if "--tls" in rest else (rest, ())
    if is_taken(int(server_port)):
        why = f"port {server_port} of this machine is in use already, so the server cannot have it"
        sys.stdout.write(f"cvl-ci: {why}\n")
        return IN_USE
    try:
        tls = encryption(*files) if files else None
    except (OSError, ValueError) as error:
        sys.stdout.write(f"cvl-ci: the proxy cannot use the certificate of this service: {error}\n")
        return 1
    try:
        proxy = Proxy(int(public_port), int(server_port), digest, list(networks), tls)
    except OSError as error:
        sys.stdout.write(f"cvl-ci: the proxy cannot have port {public_port} of this machine: {error}\n")
        return IN_USE
    with open(f"{ready}.tmp", "w", encoding="ascii") as file:
        os.replace(file.name, ready)
    proxy.serve_forever()
    return 0
