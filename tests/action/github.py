"""GitHub's API of tests/github, on a port: what a container asks is answered, and judged, as in the unit tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.github.api import URL, Api
from tests.github.repository_store import BLOBS

PULL_REQUEST = 5


def event() -> dict[str, Any]:
    """A pull request of the repository itself, as far as it is read; `number` is for act."""
    repository = {"full_name": "cvl/ci"}
    side = {"repo": repository, "sha": "0123456789abcdef0123456789abcdef01234567", "ref": "topic"}
    return {
        "action": "synchronize",
        "number": PULL_REQUEST,
        "pull_request": {"number": PULL_REQUEST, "head": side, "base": {**side, "ref": "main"}},
        "repository": repository,
    }


@contextmanager
def serving(api: Api, address: str) -> Iterator[str]:
    """Its URL. `address`: one of this computer's that the containers reach."""
    lock = threading.Lock()  # the service is one dictionary

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            if self.path.startswith("/blobs/"):
                self._respond(*api.store.blob(self.path.removeprefix("/blobs").partition("?")[0], dict(self.headers)))
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name in {"Authorization", "Content-Type"}}
            asked = requests.Request(str(self.command), f"{URL}{self.path.removeprefix('/api/v3')}", headers=headers)
            prepared = asked.prepare()
            prepared.body = body or None
            with lock:
                status, said, text = api._answer(prepared)
            here = url.removesuffix("/api/v3")
            headers = {name: value.replace(URL, url).replace(BLOBS, f"{here}/blobs") for name, value in said.items()}
            self._respond(status, text.replace(URL, url).encode(), headers)

        def _respond(self, status: int, answer: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  the library's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as server:
        url = f"http://{address}:{server.server_port}/api/v3"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join()
    assert api.wrong == [], "GitHub would not have understood this, or not have said it"
