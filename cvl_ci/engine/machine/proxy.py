"""Let only a person with the token reach the server of this machine: a small HTTP proxy in front of it.

A program of its own for the machine's Python: `proxy.py READY PUBLIC-PORT SERVER-PORT DIGEST NETWORK...`. It knows the
SHA-256 of the token, and not the token. It accepts `Authorization: Bearer TOKEN`, and for browsers the same token as
the password of Basic. It removes that header, so the server never sees it. Each connection carries one request: a
shared proxy on the way cannot pass a second person's request through the first person's connection. A WebSocket is the
one exception, once the server has accepted it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import hmac
import ipaddress
import os
import signal
import socket
import socketserver
import sys
import threading
import time

LARGEST_HEAD = 64 << 10
HEAD_SECONDS, CONNECT_SECONDS, UPGRADE_SECONDS, IDLE_SECONDS = 10.0, 10.0, 60.0, 3600.0
"""HEAD_SECONDS and UPGRADE_SECONDS: for a whole head, however steadily it drips."""
OF_A_CONNECTION = {b"connection", b"keep-alive", b"proxy-connection", b"upgrade"}
OF_A_BODY = {b"content-length", b"transfer-encoding", b"content-encoding", b"trailer"}
MOST_CONNECTIONS = 256
"""Connections with the token."""
MOST_STRANGERS = 256
"""Connections that have not shown the token. One more ends the oldest of them: a caller shows it in one moment."""
PR_SET_PDEATHSIG = 1
IN_USE = 98
"""EADDRINUSE, as the exit code of a port that another program has."""


class Proxy(socketserver.ThreadingTCPServer):
    """Listener of the public port."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, public_port: int, server_port: int, digest: str, networks: list[str]) -> None:
        self.server_port, self.digest = server_port, digest
        self.networks = [ipaddress.ip_network(network) for network in networks]
        self.slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.strangers: dict[socket.socket, None] = {}
        self.lock = threading.Lock()
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


class Connection(socketserver.BaseRequestHandler):
    """One connection, with one request."""

    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        head, rest = read_head(self.request, HEAD_SECONDS)
        if not head:
            self.refuse("400 Bad Request", "the request could not be read")
            return
        lines = head.split(b"\r\n")
        if not self.may_enter(lines[1:]):
            self.refuse("401 Unauthorized", "the token of this deployment is needed", ask=True)
            return
        self.server.know(self.request)
        if not self.server.slots.acquire(blocking=False):
            self.refuse("503 Service Unavailable", "too many connections")
            return
        try:
            self.pass_on(lines, rest)
        finally:
            self.server.slots.release()

    def pass_on(self, lines: list[bytes], rest: bytes) -> None:
        try:
            upstream = socket.create_connection(("127.0.0.1", self.server.server_port), timeout=CONNECT_SECONDS)
        except OSError:
            self.refuse("503 Service Unavailable", "the server does not accept connections yet")
            return
        with upstream:
            is_upgrade = asks_for_websocket(lines)
            upstream.sendall(forwarded(lines, is_upgrade=is_upgrade))
            if is_upgrade and not self.is_upgraded(upstream):
                return
            for one in (self.request, upstream):
                one.settimeout(IDLE_SECONDS)
            upstream.sendall(rest)
            answer = threading.Thread(target=pump, args=(upstream, self.request), daemon=True)
            answer.start()
            pump(self.request, upstream)
            answer.join(IDLE_SECONDS)

    def is_upgraded(self, upstream: socket.socket) -> bool:
        """Pass on the head of the server's answer. False: it refused the WebSocket, so the connection ends."""
        head, rest = read_head(upstream, UPGRADE_SECONDS)
        lines = head.split(b"\r\n")
        status = lines[0].split(b" ")[1:2]
        if status == [b"101"]:
            self.request.sendall(head + b"\r\n\r\n" + rest)
            return True
        if status and len(status[0]) == 3 and status[0][:1] in {b"2", b"3", b"4", b"5"}:
            headers = [line for line in lines[1:] if name(line) not in OF_A_BODY | OF_A_CONNECTION]
            self.request.sendall(
                b"\r\n".join([lines[0], *headers, b"Content-Length: 0", b"Connection: close", b"", b""])
            )
        else:
            self.refuse("502 Bad Gateway", "the server did not accept the WebSocket")
        return False

    def may_enter(self, lines: list[bytes]) -> bool:
        values = [line.partition(b":")[2].strip() for line in lines if name(line) == b"authorization"]
        if len(values) != 1:
            return False
        kind, _, credentials = values[0].partition(b" ")
        token = credentials.strip()
        if kind.lower() == b"basic":
            with contextlib.suppress(ValueError):
                token = base64.b64decode(token, validate=True).partition(b":")[2]
        elif kind.lower() != b"bearer":
            return False
        return hmac.compare_digest(hashlib.sha256(token).hexdigest(), self.server.digest)

    def refuse(self, status: str, why: str, *, ask: bool = False) -> None:
        body = f"cvl-ci: {why}\n"
        challenge = 'WWW-Authenticate: Basic realm="cvl-ci"\r\n' if ask else ""
        text = (
            f"HTTP/1.1 {status}\r\n{challenge}X-Cvl-Ci: proxy\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        )
        with contextlib.suppress(OSError):
            self.request.sendall(text.encode())


def name(line: bytes) -> bytes:
    return line.partition(b":")[0].strip().lower()


def read_head(source: socket.socket, seconds: float) -> tuple[bytes, bytes]:
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


def forwarded(lines: list[bytes], *, is_upgrade: bool) -> bytes:
    """Return the request for the server: without the token, and with the end of the connection after the answer."""
    headers = [line for line in lines[1:] if name(line) not in {b"authorization", *OF_A_CONNECTION}]
    ending = [b"Connection: Upgrade", b"Upgrade: websocket"] if is_upgrade else [b"Connection: close"]
    return b"\r\n".join([lines[0], *headers, *ending, b"", b""])


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def is_taken(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def tell(text: str) -> None:
    os.write(1, f"cvl-ci: {text}\n".encode())


def main() -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    ready, public_port, server_port, digest, *networks = sys.argv[1:]
    if is_taken(int(server_port)):
        tell(f"port {server_port} of this machine is in use already, so the server cannot have it")
        return IN_USE
    try:
        proxy = Proxy(int(public_port), int(server_port), digest, networks)
    except OSError as error:
        tell(f"the proxy cannot have port {public_port} of this machine: {error}")
        return IN_USE
    with open(f"{ready}.tmp", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    os.replace(f"{ready}.tmp", ready)
    proxy.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
