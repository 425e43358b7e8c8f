"""Answers with bounds, from a real server on this machine: size as it comes out, seconds, redirects, one try."""

from __future__ import annotations

import gzip
import http.server
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests

from cvl_ci import bounded
from cvl_ci.clouds import oidc
from cvl_ci.errors import CredentialsError
from cvl_ci.github.client import ONCE, Client, Trouble

Answer = Callable[[Any], None]
MIB = 1 << 20


@contextmanager
def dripping(head: bytes) -> Iterator[str]:
    """The address, without a scheme, of a server that sends this and then a byte at a time, whatever it receives."""
    server = socket.create_server(("127.0.0.1", 0))

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(head)
            while True:
                connection.sendall(b"\0")
                time.sleep(0.02)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=[server.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


TLS_RECORD = b"\x16\x03\x03\x3f\xff"
"""The head of a record of a handshake with 16 KiB: RFC 8446, 5.1. A byte at a time, it takes minutes."""


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Its address, and the headers of each request."""
    questions: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            questions.append({name.lower(): value for name, value in self.headers.items()})
            with suppress(OSError):
                answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", questions
    finally:
        server.shutdown()
        server.server_close()


def of(body: bytes, *, status: int = 200, **headers: str) -> Answer:
    def answer(handler: Any) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def endless(handler: Any, *, status: int = 200) -> None:
    handler.send_response(status)
    handler.end_headers()
    while True:
        handler.wfile.write(b"[" * MIB)


def chunks_cut_short(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"5\r\n[1,2,\r\n")


def a_lie_about_its_length(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"[1]")
    handler.close_connection = True


def no_http(handler: Any) -> None:
    handler.wfile.write(b"\x00\xffgarbage\r\n\r\n")


HOSTILE: dict[str, Answer] = {
    "endless": endless,
    "endless trouble": lambda handler: endless(handler, status=503),
    "a bomb": of(gzip.compress(b"0" * MIB, 6) * 512, Content_Encoding="gzip"),
    "a broken gzip": of(b"not gzip", Content_Encoding="gzip"),
    "chunks cut short": chunks_cut_short,
    "a lie about its length": a_lie_about_its_length,
    "no HTTP": no_http,
    "a bad place": of(b"", status=301, Location="http://[::bad"),
    "a redirect without a place": of(b"", status=302),
    "a web page": of(b"<html>"),
    "trouble in a web page": of(b"<html>", status=503),
    "null": of(b"null"),
    "an empty object": of(b"{}"),
    "an empty list": of(b"[]"),
    "a bool": of(b"true"),
    "no UTF-8": of(b"\xff\xfe\xfd"),
    "deep": of(b"[" * 500_000),
    "a number too long": of(b"9" * 5000),
}


def what_is_said_of(client: Client) -> str:
    """JSON is JSON: what it has to hold is its reader's to ask."""
    try:
        answer = client.ask("GET", "/user")
    except Trouble as trouble:
        return str(trouble)
    return f"as it came: {answer}"[:40] if answer in (None, {}, [], True) else ""


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_answer_to_github_s_client_or_oidc_s_is_more_than_an_error(name: str) -> None:
    """With no more memory than the bound and what it takes to read it."""
    with serving(HOSTILE[name]) as (address, _):
        tracemalloc.start()
        words = what_is_said_of(Client(api=address, token="secret-token", backoff=ONCE))
        assert words
        assert "secret-token" not in words
        environ = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{address}/?x=1",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret-token",
        }
        with pytest.raises(CredentialsError) as refused:
            oidc.id_token(environ, "sts.amazonaws.com")
        assert "secret-token" not in str(refused.value)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * bounded.MOST_BYTES


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_credential_follows_a_redirect_to_this_or_another_address(status: int) -> None:
    with serving(of(b'{"value": "a.b.c", "login": "x"}')) as (elsewhere, followed):
        with serving(of(b"", status=status, Location=f"{elsewhere}/")) as (address, questions):
            environ = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{address}/?x=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret"}
            with pytest.raises(CredentialsError, match="elsewhere"):
                oidc.id_token(environ, "sts.amazonaws.com")
            with pytest.raises(Trouble, match="renamed"):
                Client(api=address, token="secret", backoff=ONCE).ask("GET", "/user")
            with pytest.raises(requests.RequestException):
                bounded.session(authorization="Bearer secret").get(address)  # as a library would, by default
        assert [one["authorization"] for one in questions] == ["Bearer secret", "token secret", "Bearer secret"]
        assert followed == []


def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    going = threading.Event()

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not going.wait(0.02):
            handler.wfile.write(b" ")

    with serving(drip) as (address, _):
        asking = bounded.session(seconds=0.2)
        with pytest.raises(bounded.OutOfBounds, match="too long"):
            asking.get(address, timeout=10)
        going.set()


def dripping_head(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-More: x\r\n"[:1])
        time.sleep(0.02)


def only_the_promise_of_an_answer(handler: Any) -> None:
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@pytest.mark.parametrize("hostile", [dripping_head, only_the_promise_of_an_answer])
def test_an_answer_whose_head_has_no_end_is_given_up_also_through_a_proxy(hostile: Answer) -> None:
    with serving(hostile) as (address, _):
        with pytest.raises(bounded.OutOfBounds, match="too long"):
            bounded.session(seconds=0.2).get(address, timeout=10)
        with pytest.raises(bounded.OutOfBounds, match="too long"):
            bounded.session(seconds=0.2).get("http://a.example", timeout=10, proxies={"http": address})


@pytest.mark.timeout(60)
def test_a_handshake_that_drips_is_given_up_also_through_a_proxy() -> None:
    with dripping(TLS_RECORD) as address, pytest.raises(requests.RequestException, match="too long"):
        bounded.session(seconds=0.2).get(f"https://{address}", timeout=10)
    with dripping(b"HTTP/1.1 200 OK\r\nX: ") as address, pytest.raises(requests.RequestException, match="too long"):
        bounded.session(seconds=0.2).get("https://a.example", timeout=10, proxies={"https": f"http://{address}"})
    streaming = requests.Session()
    streaming.mount("https://", bounded.TimedAdapter(seconds=0.2))
    with dripping(TLS_RECORD) as address, pytest.raises(requests.RequestException, match="too long"):
        streaming.get(f"https://{address}", timeout=10, stream=True)


def test_a_file_of_passwords_takes_no_credential_s_place(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login mallory password x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with serving(of(b"{}")) as (address, questions):
        bounded.session(authorization="Bearer ours").get(address)
    assert questions[0]["authorization"] == "Bearer ours"


def test_a_whole_answer_in_gzip_is_read() -> None:
    with serving(of(gzip.compress(b'{"login": "ada"}'), Content_Encoding="gzip")) as (address, _):
        assert Client(api=address, token="t", backoff=ONCE).ask("GET", "/user") == {"login": "ada"}
