"""The Services port: the real adapter and the fake give the same answers about the machine's own proxy."""

from __future__ import annotations

import http.server
import io
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cvl_ci.engine import machine as machine_programs
from cvl_ci.engine.machine.proxy import main as proxy_program
from cvl_ci.engine.machine.proxy.redirects import Redirects
from cvl_ci.local.http_services import HttpServices
from cvl_ci.model.service import token_digest
from cvl_ci.ports import ServiceAnswer, ServiceRequest, Services
from cvl_ci.ports.services import LARGEST_ANSWER
from tests.support.fake_services import FakeServices
from tests.support.fakes import FakeClock

TOKEN = "t" * 43
START = "import sys; sys.path.insert(0, sys.argv[1]); from proxy import main; sys.exit(main.main(*sys.argv[2:]))"
PROXY = (sys.executable, "-I", "-c", START, next(iter(machine_programs.__path__)))
"""The proxy as service.sh starts it."""


class Handler(http.server.BaseHTTPRequestHandler):
    """A server that echoes its request, and misbehaves on some paths."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith(("/elsewhere", "/own")):
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.path.partition('=')[2] or 1}/next")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * (LARGEST_ANSWER + 100_000))
            self.close_connection = True
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        elif self.path == "/drip":
            self._drip(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 60_000)
        elif self.path == "/continue":
            self._drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000)
        elif self.path == "/websocket":
            self.send_response(101)
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.send_header("Connection", self.headers["Connection"])
            self.end_headers()
            while part := self.connection.recv(65536):
                self.wfile.write(part)
            self.close_connection = True
        elif self.path == "/nonsense":
            self.wfile.write(b"\x00\x01 not http\r\n\r\n")
            self.close_connection = True
        else:
            self._echo(b"")

    def do_POST(self) -> None:
        self._echo(self.rfile.read(int(self.headers["Content-Length"])))

    def _drip(self, head: bytes) -> None:
        """Send a head in pieces, each in time, for far longer than a test may take. It ends with the connection."""
        for at in range(0, len(head), 4):
            self.wfile.write(head[at : at + 4])
            self.wfile.flush()
            time.sleep(0.05)

    def _echo(self, body: bytes) -> None:
        content = json.dumps({"headers": dict(self.headers), "body": body.decode()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def proxy(folder: Path, server_port: int, *networks: str) -> Iterator[str]:
    """Run the machine's own program, and yield its URL."""
    with proxy_process(folder, server_port, *networks) as (_, public):
        yield f"http://127.0.0.1:{public}"


@contextmanager
def proxy_process(
    folder: Path, server_port: int, *networks: str, tls: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the machine's own program, and yield it with its public port. `tls`: the files of its chain and its key."""
    public = free_port()
    ready = folder / f"ready-{public}"
    words = [str(ready), str(public), str(server_port), token_digest(TOKEN), *(networks or ("0.0.0.0/0",))]
    words += ["--tls", *tls] if tls else []
    process = subprocess.Popen([*PROXY, *words])
    try:
        while not ready.exists() and process.poll() is None:
            time.sleep(0.02)
        yield process, public
    finally:
        process.kill()
        process.wait()


@contextmanager
def server(port: int) -> Iterator[None]:
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        serving.shutdown()
        serving.server_close()


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    with proxy(tmp_path_factory.mktemp("proxy"), port) as url, server(port):
        yield url


def real(folder: Path, state: str, ask: Callable[[Services, str], ServiceAnswer]) -> ServiceAnswer:
    port = free_port()
    if state == "unreachable":
        return ask(HttpServices(), f"http://127.0.0.1:{port}")
    with proxy(folder, port) as url:
        if state == "starting":
            return ask(HttpServices(), url)
        with server(port):
            return ask(HttpServices(), url)


def fake(_: Path, state: str, ask: Callable[[Services, str], ServiceAnswer]) -> ServiceAnswer:
    services = FakeServices(
        FakeClock(),
        digest=token_digest(TOKEN),
        ready_at=0.0 if state == "ready" else None,
        is_reachable=state != "unreachable",
    )
    return ask(services, "http://127.0.0.1:1")


@pytest.mark.parametrize("adapter", [real, fake])
@pytest.mark.parametrize(
    ("state", "token", "status", "is_from_proxy"),
    [
        ("ready", TOKEN, 200, False),
        ("ready", "", 401, True),
        ("ready", TOKEN + "x", 401, True),
        ("starting", TOKEN, 503, True),
        ("starting", "", 401, True),
        ("unreachable", TOKEN, 0, False),
    ],
)
def test_real_and_fake_answer_alike(  # noqa: PLR0917  the columns of a table
    adapter: Callable[[Path, str, Callable[[Services, str], ServiceAnswer]], ServiceAnswer],
    state: str,
    token: str,
    status: int,
    is_from_proxy: bool,
    tmp_path: Path,
) -> None:
    answer = adapter(
        tmp_path, state, lambda services, url: services.ask(ServiceRequest(url=url, path="/health", token=token))
    )
    assert (answer.status, answer.is_from_proxy, bool(answer.problem)) == (status, is_from_proxy, status == 0)


def test_the_server_sees_the_request_and_never_the_token(server_url: str) -> None:
    answer = HttpServices().ask(ServiceRequest(url=server_url, path="/v1/x", token=TOKEN, body=b'{"a": 1}'))
    document = json.loads(answer.body)
    assert document["body"] == '{"a": 1}'
    assert "Authorization" not in document["headers"] and document["headers"]["Connection"] == "close"
    assert TOKEN not in answer.body.decode()


@pytest.mark.parametrize("path", ["/slow", "/drip", "/continue", "/nonsense"])
def test_a_hostile_answer_ends_in_time_and_is_a_problem(server_url: str, path: str) -> None:
    """The server sends for 100 s and more, so a bound of 60 s holds on a busy computer too."""
    answer = HttpServices().ask(ServiceRequest(url=server_url, path=path, token=TOKEN, timeout_seconds=0.5))
    assert answer.status == 0 and answer.problem and answer.seconds < 60


def test_an_endless_answer_is_cut_and_a_redirect_is_not_followed(server_url: str) -> None:
    assert len(HttpServices().ask(ServiceRequest(url=server_url, path="/endless", token=TOKEN)).body) == LARGEST_ANSWER
    assert HttpServices().ask(ServiceRequest(url=server_url, path="/elsewhere", token=TOKEN)).status == 302


def told(url: str, request: bytes) -> bytes:
    """Return what the proxy writes back to these bytes."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as one:
        one.sendall(request)
        answer = b""
        while part := one.recv(65536):
            answer += part
        return answer


SERVER_PORT = 8001


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://127.0.0.1:8001/login?next=/a", "/login?next=/a"),
        ("HTTP://LocalHost:8001/login", "/login"),
        ("https://0.0.0.0:8001", "/"),
        ("http://127.0.0.1:8001?a=1", "/?a=1"),
        ("http://127.0.0.1:8001#top", "/#top"),
        ("http://127.0.0.1:8001//evil.example/x", "/evil.example/x"),
        ("http://127.0.0.1:8001/\\/evil.example", "/evil.example"),
        ("/login", None),
        ("https://example.com/login", None),
        ("http://127.0.0.1:80010/", None),
        ("http://127.0.0.1:8001@evil.example/", None),
        ("http://127.0.0.1:8001.evil.example/", None),
        ("http://127.0.0.1:8002/", None),
        ("http://127.0.0.1:8001/\t/evil.example", None),
        ("http://127.0.0.1:8001/a\rSet-Cookie: a=b", None),
        ("https://example.com/?back=http://127.0.0.1:8001/", None),
        ("", None),
    ],
)
def test_a_redirect_to_the_servers_own_address_stays_on_the_service(value: str, expected: str | None) -> None:
    for header in ("Location", "location ", "Refresh"):
        before = "0; url=" if header == "Refresh" else ""
        head = f"HTTP/1.1 302 Found\r\nA: http://127.0.0.1:8001/\r\n{header}: {before}{value}\r\nB: 1".encode()
        changed = Redirects(SERVER_PORT, [], is_tls=False).changed(head)
        assert changed == head.replace(value.encode() if value else b"\0", (expected or value).encode() or b"")


def test_behind_tls_a_redirect_to_the_callers_own_host_keeps_its_scheme() -> None:
    """A server that ignores X-Forwarded-Proto sends its caller to http://, which this port does not take."""
    head = b"HTTP/1.1 302 Found\r\nLocation: http://a.example:8443/x"
    lines = [b"GET / HTTP/1.1", b"Host: a.example:8443"]
    assert Redirects(SERVER_PORT, lines, is_tls=True).changed(head).endswith(b"Location: /x")
    assert Redirects(SERVER_PORT, lines, is_tls=False).changed(head) == head
    for host in (b"", b"(", b"*", b".*", b"\\"):
        assert Redirects(SERVER_PORT, [b"", b"Host: " + host], is_tls=True).changed(head) == head


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_only_the_head_of_the_answer_changes(size: int, end: bytes) -> None:
    interim = end.join([b"HTTP/1.1 103 Early Hints", b"Link: </a>", b"", b""])
    head = end.join([b"HTTP/1.1 302 Found", b"Location: http://127.0.0.1:8001/x", b"", b""])
    body = b"Location: http://127.0.0.1:8001/x\r\n\r\n"
    source, sent = io.BytesIO(interim + head + body), bytearray()
    Redirects(SERVER_PORT, [], is_tls=False).pass_head(lambda most: source.read(min(most, size)), sent.extend)
    assert bytes(sent) + source.read() == interim + head.replace(b"http://127.0.0.1:8001", b"") + body


@pytest.mark.parametrize(
    "text", [b"", b"no http", b"HTTP/1.1 100 Continue", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000]
)
def test_an_answer_without_the_end_of_a_head_passes_unchanged(text: bytes) -> None:
    source, sent = io.BytesIO(text), bytearray()
    Redirects(SERVER_PORT, [], is_tls=False).pass_head(source.read, sent.extend)
    assert bytes(sent) + source.read() == text


def test_the_proxy_answers_with_a_redirect_that_its_caller_can_follow(tmp_path: Path) -> None:
    port = free_port()
    request = f"GET /own?port={port} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    upgrade = request.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    with proxy(tmp_path, port) as url, server(port):
        for question in (request, upgrade):
            answer = told(url, question)
            assert b"\r\nLocation: /next\r\n" in answer and b"127.0.0.1" not in answer, answer


@pytest.mark.parametrize(
    "lines",
    [
        b"Authorization: Bearer",
        b"Authorization: Basic !!!!",
        b"Authorization: Digest " + TOKEN.encode(),
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\nAuthorization: Bearer x",
        b"X-Authorization: Bearer " + TOKEN.encode(),
        b"Cookie: token=" + TOKEN.encode(),
    ],
)
def test_no_other_header_opens_the_door(server_url: str, lines: bytes) -> None:
    assert told(server_url, b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")


def test_a_second_request_of_one_connection_is_not_answered(server_url: str) -> None:
    one = (
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
    )
    assert told(server_url, one + b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n").count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    ("upgrade", "answers"),
    [
        (b"Upgrade: x", [b"200"]),
        (b"Upgrade: h2c", [b"200"]),
        (b"Upgrade: websocket\r\nUpgrade: x", [b"200"]),
        (b"Upgrade: websocket\r\nContent-Length: 3", [b"200"]),
        (b"Upgrade: websocket", [b"200"]),
        (b"Upgrade:\nX: y", [b"400"]),
        (b"X: y\nConnection: keep-alive", [b"400"]),
        (b"X: y\rConnection: keep-alive", [b"400"]),
    ],
)
def test_a_connection_lives_on_only_as_a_websocket_that_the_server_accepted(
    server_url: str, upgrade: bytes, answers: list[bytes]
) -> None:
    """The server keeps connections open, and so would answer a second request without the token."""
    first = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nAuthorization: Bearer " + TOKEN.encode()
    text = told(server_url, first + b"\r\n" + upgrade + b"\r\n\r\n" + b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [part[:3] for part in text.split(b"HTTP/1.1 ")[1:]] == answers
    assert b"keep-alive" not in text.lower()


def websocket(url: str) -> socket.socket:
    """Open one through the proxy, and return it after the server's acceptance."""
    host, port = url.removeprefix("http://").split(":")
    one = socket.create_connection((host, int(port)), timeout=20)
    lines = [b"GET /websocket HTTP/1.1", b"Host: x", b"Connection: Upgrade", b"Upgrade: WebSocket"]
    one.sendall(b"\r\n".join([*lines, b"Authorization: Bearer " + TOKEN.encode(), b"", b""]))
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = one.recv(65536)
        assert part, answer
        answer += part
    assert answer.startswith(b"HTTP/1.1 101 ") and TOKEN.encode() not in answer
    return one


def test_a_websocket_carries_bytes_both_ways(server_url: str) -> None:
    with websocket(server_url) as one:
        one.sendall(b"hello")
        assert one.recv(5) == b"hello"


@contextmanager
def proxy_here(server_port: int, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run the program's listener in this process, so that a test can shorten its limits."""
    listener = proxy_program.Proxy(0, server_port, token_digest(TOKEN), ["0.0.0.0/0"], tls)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        listener.server_close()


def test_people_without_the_token_cannot_take_the_places_of_those_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_program, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(proxy_program, "MOST_STRANGERS", 4, raising=False)
    port = free_port()
    with server(port), proxy_here(port) as url, websocket(url) as open_one:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        strangers = [socket.create_connection(address, timeout=20) for _ in range(9)]
        try:
            answer = HttpServices().ask(ServiceRequest(url=url, path="/", token=TOKEN, timeout_seconds=60))
            assert answer.status == 200, answer
            assert strangers[0].recv(65536) == b"", "the oldest one had to go"
            open_one.sendall(b"hello")
            assert open_one.recv(5) == b"hello"
        finally:
            for one in strangers:
                one.close()


def test_callers_with_the_token_have_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_program, "MOST_CONNECTIONS", 1)
    port = free_port()
    with server(port), proxy_here(port) as url, websocket(url):
        answer = HttpServices().ask(ServiceRequest(url=url, path="/", token=TOKEN, timeout_seconds=60))
        assert (answer.status, answer.is_from_proxy) == (503, True)


def test_a_head_that_drips_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece comes in time, for a minute and more."""
    monkeypatch.setattr(proxy_program, "HEAD_SECONDS", 0.5)
    with proxy_here(free_port()) as url:
        address, is_over, pieces = ("127.0.0.1", int(url.rpartition(":")[2])), False, 0
        with socket.create_connection(address, timeout=0.1) as one:
            one.sendall(b"GET / HTTP/1.1\r\nA: ")
            while not is_over and pieces < 600:
                pieces += 1
                try:
                    one.sendall(b"x")
                    is_over = one.recv(65536).startswith(b"HTTP/1.1 400 ")
                except TimeoutError:
                    continue
                except ConnectionError:
                    is_over = True
    assert is_over


def test_an_endless_head_is_refused(server_url: str) -> None:
    assert told(server_url, b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 70_000).startswith(b"HTTP/1.1 400 ")


def test_only_the_named_networks_may_connect(tmp_path: Path) -> None:
    port = free_port()
    with proxy(tmp_path, port, "203.0.113.0/24") as url, server(port):
        assert HttpServices().ask(ServiceRequest(url=url, path="/", token=TOKEN)).problem


def test_a_port_in_use_ends_the_proxy_with_its_own_code(tmp_path: Path) -> None:
    port = free_port()
    words = [str(tmp_path / "ready"), str(free_port()), str(port), "d", "0.0.0.0/0"]
    with server(port):
        result = subprocess.run([*PROXY, *words], capture_output=True, text=True, check=False)
    assert result.returncode == 98 and f"port {port} of this machine is in use already" in result.stdout
    assert not (tmp_path / "ready").exists()


def test_the_token_of_a_probe_opens_one_path_for_a_get(tmp_path: Path) -> None:
    probe, port = "a-token-of-the-probe-alone-0123456789", free_port()
    digests = f"{token_digest(TOKEN)},{token_digest(probe)},/health"
    listener = proxy_program.Proxy(0, port, digests, ["0.0.0.0/0"])
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{listener.server_address[1]}"

    def status(token: str, path: str, body: bytes = b"") -> int:
        return HttpServices().ask(ServiceRequest(url=url, path=path, token=token, body=body)).status

    try:
        with server(port):
            assert [status(TOKEN, path) for path in ("/health", "/")] == [200, 200]
            assert status(probe, "/health") == 200
            others = ("/", "/health/", "/health?a=1", "/v1/models", "//health")
            assert [status(probe, path) for path in others] == [401] * len(others)
            assert (status(probe, "/health", b"{}"), status("", "/health")) == (401, 401)
    finally:
        listener.shutdown()
        listener.server_close()
