"""GitHub's word for a reaper: a server on this host that answers as a function says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AGO = timedelta(minutes=1)
"""When a run was completed: longer ago than a reaper takes to ask, so that no grace is left of it."""


def completed() -> dict[str, str]:
    """Return the answer about a run that has just been cancelled: GitHub's REST API, "Get a workflow run attempt"."""
    moment = f"{datetime.now(timezone.utc) - AGO:%Y-%m-%dT%H:%M:%SZ}"
    return {"status": "completed", "conclusion": "cancelled", "updated_at": moment}


@contextmanager
def answering(answer: Callable[[str], tuple[int, object]]) -> Iterator[str]:
    """Yield the address of a server. `answer`: the status and the JSON of each path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, shown = answer(self.path.partition("?")[0])
            body = json.dumps(shown).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def saying_completed() -> Iterator[str]:
    """Yield the address of a server that says of every run that it is completed."""
    with answering(lambda _: (200, completed())) as address:
        yield address
