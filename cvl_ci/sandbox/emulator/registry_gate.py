"""Let machines pull from one registry of this computer, which listens on its loopback alone.

A machine's Docker Engine speaks plain HTTP with 127.0.0.1 (dockerd, "insecure registries"). A small program on the
machine listens there and passes each connection to the emulator. The emulator passes only requests of `docker pull`.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_REQUEST = re.compile(r"/v2/(?:[a-z0-9._/-]+/(?:manifests|blobs)/[\w.:-]+)?")
"""The requests of a pull: OCI Distribution Specification 1.1, "Pull"."""
_TIMEOUT = 60.0
_PIECE = 1 << 20
_PASSED = {
    "content-type",
    "content-length",
    "docker-content-digest",
    "docker-distribution-api-version",
    "www-authenticate",
}

FORWARDER = """
import socket, sys, threading
port, host, upstream = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    try:
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def serve(client):
    with client:
        try:
            server = socket.create_connection((host, upstream), timeout=10)
        except OSError:
            return
        with server:
            server.settimeout(None)
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join()
with socket.create_server(("127.0.0.1", port)) as listening:
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""
"""The program on the machine: PORT GATEWAY EMULATOR-PORT."""


class RegistryGate:
    """A WSGI application for one registry. `host`: such as `127.0.0.1:5000`; empty: there is none."""

    def __init__(self, host: str) -> None:
        self._host = host

    def takes(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a request is for this registry, by the address that the machine asked."""
        return bool(self._host) and environ.get("HTTP_HOST") == self._host

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], str(environ["PATH_INFO"])
        if method not in {"GET", "HEAD"} or not _REQUEST.fullmatch(path) or ".." in path:
            start_response("405 Method Not Allowed", [("Content-Length", "0")])
            return []
        name, _, port = self._host.rpartition(":")
        connection = http.client.HTTPConnection(name, int(port), timeout=_TIMEOUT)
        headers = {"Host": self._host}
        headers |= {"Accept": environ["HTTP_ACCEPT"]} if "HTTP_ACCEPT" in environ else {}
        headers |= {"Authorization": environ["HTTP_AUTHORIZATION"]} if "HTTP_AUTHORIZATION" in environ else {}
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()
            start_response("502 Bad Gateway", [("Content-Length", "0")])
            return []
        answer_headers = [(key, value) for key, value in answer.getheaders() if key.lower() in _PASSED]
        start_response(f"{answer.status} {answer.reason}", answer_headers)
        return _pieces(connection, answer)


def _pieces(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while piece := answer.read(_PIECE):
            yield piece
    finally:
        connection.close()
