"""A results service in front of Azure's own emulator: it refuses what the real one refuses, and fails on demand.

Blob requests pass through to azurite under a signature that azurite verifies; on the way each is held to the protocol:
the signed part of the query to the letter, blocks within their limit, the list before the end.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlencode

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the emulator, and printed in its documentation: it opens nothing else."""
RUN, JOB = "ce7f54c7-61c7-4aae-887f-30da475f5f1a", "ca395085-040a-526b-2ce8-bdc85f692774"
SERVICE = "/twirp/github.actions.results.api.v1.ArtifactService/"
MAY_HOLD = {
    "CreateArtifact": {"name", "expires_at", "version", "mime_type"},
    "FinalizeArtifact": {"name", "size", "hash"},
    "ListArtifacts": {"name_filter", "id_filter"},
    "GetSignedArtifactURL": {"name"},
}
MUST_HOLD = {"CreateArtifact": {"name", "version"}, "FinalizeArtifact": {"name", "size", "hash"}}


def token(scopes: str = f"Actions.Other Actions.Results:{RUN}:{JOB}") -> str:
    parts = [{"alg": "none"}, {"scp": scopes, "exp": 4_000_000_000}]
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), "c2ln"]
    )


def signature(**permissions: str) -> str:
    """An account's shared access signature, as Azure defines it."""
    expiry = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    given = {"sv": "2019-12-12", "ss": "b", "srt": "co", "sp": "rwc", "se": expiry, **permissions}
    said = [ACCOUNT, *(given[name] for name in ("sp", "ss", "srt")), "", expiry, "", "", given["sv"], ""]
    made = hmac.new(base64.b64decode(KEY), "\n".join(said).encode(), hashlib.sha256).digest()
    return urlencode({**given, "sig": base64.b64encode(made).decode()})


@dataclass
class Artifact:
    name: str
    number: int
    version: int
    path: str
    query: str
    expires_at: str | None = None
    size: int | None = None
    digest: str = ""


@dataclass
class Faults:
    """What goes wrong next, each as many times as it says. `quota`: of CreateArtifact."""

    troubled: int = 0
    troubled_blocks: int = 0
    dropped_blocks: int = 0
    not_json: int = 0
    stuck_after: int | None = None
    """So many blocks have passed; the others wait until `unstuck`."""
    quota: bool = False


@dataclass
class Results:
    """The state of the service, and `seen`: every request, as method and what it was about."""

    azurite: int
    port: int = 0
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    seen: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    unstuck: threading.Event = field(default_factory=threading.Event)
    now: int = 0
    most_at_once: int = 0
    """Of requests to the storage."""

    @contextmanager
    def on_its_way(self) -> Iterator[None]:
        with self.lock:
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        try:
            yield
        finally:
            with self.lock:
                self.now -= 1

    @property
    def environ(self) -> dict[str, str]:
        return {
            "ACTIONS_RESULTS_URL": f"http://127.0.0.1:{self.port}/",
            "ACTIONS_RUNTIME_TOKEN": token(),
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "cvl/examples",
            "GITHUB_RUN_ID": "77",
            "GITHUB_RUN_ATTEMPT": "2",
        }

    def fails(self, fault: str) -> bool:
        with self.lock:
            left = getattr(self.faults, fault)
            setattr(self.faults, fault, max(left - 1, 0))
            return bool(left)

    def stuck(self) -> bool:
        after = self.faults.stuck_after
        return after is not None and sum(each.startswith("PUT block ") for each in self.seen) > after

    def answer(self, method: str, asked: dict[str, object]) -> tuple[int, dict[str, object]]:
        problem = _malformed(method, asked)
        if problem:
            self.wrong.append(f"{method}: {problem}")
            return 400, {"code": "malformed", "msg": problem}
        with self.lock:
            match method:
                case "CreateArtifact":
                    return self._create(asked)
                case "FinalizeArtifact":
                    return self._finalize(asked)
                case "ListArtifacts":
                    return 200, {"artifacts": [_listed(each) for each in self._matching(asked)]}
                case _:
                    found = self.artifacts[str(asked["name"])]
                    return 200, {"signed_url": f"http://127.0.0.1:{self.port}{found.path}?{signature(sp='r')}"}

    def _create(self, asked: dict[str, object]) -> tuple[int, dict[str, object]]:
        name = str(asked["name"])
        if self.faults.quota:
            return 403, {"code": "permission_denied", "msg": "insufficient usage to create artifact"}
        if name in self.artifacts:
            return 409, {"code": "already_exists", "msg": "an artifact with this name already exists"}
        number = len(self.artifacts) + 1
        made = Artifact(
            name=name,
            number=number,
            version=int(str(asked["version"])),
            path=f"/{ACCOUNT}/artifacts/{number}.zip",
            query=signature(sp="cw"),
            expires_at=str(asked["expires_at"]) if "expires_at" in asked else None,
        )
        self.artifacts[name] = made
        return 200, {"ok": True, "signed_upload_url": f"http://127.0.0.1:{self.port}{made.path}?{made.query}"}

    def _finalize(self, asked: dict[str, object]) -> tuple[int, dict[str, object]]:
        found = self.artifacts.get(str(asked["name"]))
        if found is None:
            return 404, {"code": "not_found", "msg": "artifact not found"}
        size = _size_of_blob(self.azurite, found.path)
        if size != int(str(asked["size"])):
            self.wrong.append(f"{found.name}: finalized with {asked['size']} bytes, the blob has {size}")
            return 400, {"code": "invalid_argument", "msg": "size"}
        found.size, found.digest = size, str(asked["hash"])
        return 200, {"ok": True, "artifact_id": str(found.number)}

    def _matching(self, asked: dict[str, object]) -> list[Artifact]:
        wanted, number = asked.get("name_filter"), asked.get("id_filter")
        return [
            each
            for each in self.artifacts.values()
            if each.size is not None and wanted in (None, each.name) and number in (None, str(each.number))
        ]


@contextmanager
def serving(azurite: int) -> Iterator[Results]:
    service = Results(azurite=azurite)
    status = _through(azurite, "PUT", f"/{ACCOUNT}/artifacts?restype=container&{signature()}", {}, b"")[0]
    assert status in {201, 409}, f"azurite made no container: {status}"
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(service))
    server.daemon_threads = True
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(service: Results) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (Requests,), {"service": service})


class Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: Results

    def do_POST(self) -> None:
        method = self.path.removeprefix(SERVICE)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.service.seen.append(f"POST {method}")
        if self.service.fails("troubled"):
            return self._say(503, b'{"code": "unavailable", "msg": "try again"}')
        if self.service.fails("not_json"):
            return self._say(200, b"<html>a proxy's own page</html>")
        if self.headers["Authorization"] != f"Bearer {token()}":
            return self._say(401, b'{"code": "unauthenticated", "msg": "who are you"}')
        status, said = self.service.answer(method, json.loads(body))
        return self._say(status, json.dumps(said).encode())

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        given = dict(parse_qsl(self.path.partition("?")[2]))
        block = given.get("comp") == "block"
        self.service.seen.append(f"PUT {given.get('comp')} {given.get('blockid', '')}".rstrip())
        if block and self.service.fails("dropped_blocks"):
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        with self.service.on_its_way():
            answer = self._taken(self.rfile.read(length), block=block)
        return self._say(*answer)

    def _taken(self, body: bytes, *, block: bool) -> tuple[int, bytes]:
        if block and self.service.stuck():
            self.service.unstuck.wait(timeout=60)
        if block and self.service.fails("troubled_blocks"):
            return 503, b""
        problem = _not_as_signed(self.service, self.path, len(body))
        if problem:
            self.service.wrong.append(problem)
            return 403, b""
        kept = {name: value for name, value in self.headers.items() if name.lower().startswith(("x-ms-", "content-"))}
        return _through(self.service.azurite, "PUT", self.path, kept, body)

    def do_GET(self) -> None:
        status, said = _through(self.service.azurite, "GET", self.path, {}, b"")
        self._say(status, said, kind="application/zip")

    def _say(self, status: int, body: bytes, *, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


def _malformed(method: str, asked: dict[str, object]) -> str | None:
    if method not in MAY_HOLD:
        return f"no method {method}"
    if asked.pop("workflow_run_backend_id", None) != RUN or asked.pop("workflow_job_run_backend_id", None) != JOB:
        return "not this run and job"
    if not MUST_HOLD.get(method, set()) <= set(asked) <= MAY_HOLD[method]:
        return f"fields {sorted(asked)}"
    name, expires, size = (asked.get(key) for key in ("name", "expires_at", "size"))
    if name is not None and (not isinstance(name, str) or not name or re.search(r'["<>|*?:\\/\r\n]', name)):
        return f"name {name!r}"
    if expires is not None and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", str(expires)):
        return f"expires_at {expires!r}"
    if size is not None and not (isinstance(size, str) and size.isdecimal()):
        return f"size {size!r} is no int64 in JSON"
    if "hash" in asked and not re.fullmatch("sha256:[0-9a-f]{64}", str(asked["hash"])):
        return "hash"
    return None if asked.get("version", 4) in (4, 7) else "version"


def _not_as_signed(service: Results, path: str, length: int) -> str | None:
    """The signed query may come in another order (the official client sorts nothing, but puts its own words first)."""
    place, _, query = path.partition("?")
    signed = next((each.query for each in service.artifacts.values() if each.path == place), None)
    if signed is None or not set(signed.split("&")) <= set(query.split("&")):
        return f"{place} is not what was signed"
    return f"a block of {length} bytes" if "comp=block&" in f"{query}&" and length > 100 * 1024 * 1024 else None


def _listed(each: Artifact) -> dict[str, object]:
    return {
        "workflow_run_backend_id": RUN,
        "workflow_job_run_backend_id": JOB,
        "database_id": str(each.number),
        "name": each.name,
        "size": str(each.size),
        "created_at": "2026-01-02T03:04:05Z",
        "digest": each.digest,
    }


def _size_of_blob(port: int, path: str) -> int | None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("HEAD", f"{quote(path)}?{signature(sp='r')}")
        answer = connection.getresponse()
        answer.read()
    return int(answer.headers["Content-Length"]) if answer.status == 200 else None


def _through(port: int, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
