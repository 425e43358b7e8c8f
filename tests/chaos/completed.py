"""GitHub's word that a workflow run is completed, for a reaper: a server on this host that says it of every run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AGO = timedelta(minutes=1)
"""When it was completed: longer ago than a reaper takes to ask, so that no grace is left of it."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Shape: GitHub's REST API, "Get a workflow run attempt"."""
        moment = f"{datetime.now(timezone.utc) - AGO:%Y-%m-%dT%H:%M:%SZ}"
        body = json.dumps({"status": "completed", "conclusion": "cancelled", "updated_at": moment}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def saying_completed() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
