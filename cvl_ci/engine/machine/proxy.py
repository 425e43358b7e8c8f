"""Let only a person with the token reach the server of this machine: a small HTTP proxy in front of it.

A program of its own for the machine's Python: `proxy.py READY PUBLIC-PORT SERVER-PORT DIGEST NETWORK...`. It knows the
SHA-256 of the token, and not the token. It accepts `Authorization: Bearer TOKEN`, and for browsers the same token as
the password of Basic. It removes that header, so the server never sees it. Each connection carries one request: a
shared proxy on the way cannot pass a second person's request through the first person's connection.
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

LARGEST_HEAD = 64 << 10
HEAD_SECONDS, CONNECT_SECONDS, IDLE_SECONDS = 10.0, 10.0, 3600.0
MOST_CONNECTIONS = 256
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
        super().__init__(("", public_port), Connection)

    def verify_request(self, request: object, client_address: object) -> bool:
        """Refuse a connection from outside the networks, or one too many, before anything is read."""
        host = client_address[0] if isinstance(client_address, tuple) else ""
        return any(ipaddress.ip_address(host) in network for network in self.networks)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a broken connection: the log belongs to the server."""


class Connection(socketserver.BaseRequestHandler):
    """One connection, with one request."""

    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        if not self.server.slots.acquire(blocking=False):
            self.refuse("503 Service Unavailable", "too many connections")
            return
        try:
            self.pass_on()
        finally:
            self.server.slots.release()

    def pass_on(self) -> None:
        self.request.settimeout(HEAD_SECONDS)
        head, rest = self.read_head()
        if not head:
            self.refuse("400 Bad Request", "the request could not be read")
            return
        lines = head.split(b"\r\n")
        if not self.may_enter(lines[1:]):
            self.refuse("401 Unauthorized", "the token of this deployment is needed", ask=True)
            return
        try:
            upstream = socket.create_connection(("127.0.0.1", self.server.server_port), timeout=CONNECT_SECONDS)
        except OSError:
            self.refuse("503 Service Unavailable", "the server does not accept connections yet")
            return
        with upstream:
            upstream.sendall(forwarded(lines) + rest)
            for one in (self.request, upstream):
                one.settimeout(IDLE_SECONDS)
            answer = threading.Thread(target=pump, args=(upstream, self.request), daemon=True)
            answer.start()
            pump(self.request, upstream)
            answer.join(IDLE_SECONDS)

    def read_head(self) -> tuple[bytes, bytes]:
        data = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in data and len(data) <= LARGEST_HEAD:
                part = self.request.recv(16384)
                if not part:
                    return b"", b""
                data += part
        head, end, rest = data.partition(b"\r\n\r\n")
        return (head, rest) if end and len(head) <= LARGEST_HEAD else (b"", b"")

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


def forwarded(lines: list[bytes]) -> bytes:
    """Return the request for the server: without the token, and with the end of the connection after the answer."""
    is_upgrade = any(name(line) == b"upgrade" for line in lines[1:])
    dropped = (
        {b"authorization"} if is_upgrade else {b"authorization", b"connection", b"keep-alive", b"proxy-connection"}
    )
    headers = [lines[0], *(line for line in lines[1:] if name(line) not in dropped)]
    return b"\r\n".join([*headers, *([] if is_upgrade else [b"Connection: close"]), b"", b""])


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
