"""HTTPS of the machine's own proxy, between a real client and a real server, with certificates of OpenSSL."""

from __future__ import annotations

import json
import resource
import select
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.engine.machine.proxy import main as proxy_program
from cvl_ci.local.http_services import HttpServices
from cvl_ci.planning import certificate
from cvl_ci.ports import ServiceAnswer, ServiceRequest
from cvl_ci.ports.services import LARGEST_ANSWER
from tests.local.test_http_services import PROXY, TOKEN, free_port, proxy_here, proxy_process, server
from tests.support import certificates
from tests.support.certificates import NAME, Pair

BEARER = b"Authorization: Bearer " + TOKEN.encode()


def files(folder: Path, pair: Pair) -> tuple[str, str]:
    """Write a certificate and its key, and return their paths."""
    paths = folder / "chain.pem", folder / "key.pem"
    for path, text in zip(paths, (pair.cert, pair.key), strict=True):
        path.write_text(text)
    return str(paths[0]), str(paths[1])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the machine's own program with a certificate, before a real server."""
    folder, server_port = tmp_path_factory.mktemp("tls"), free_port()
    with (
        proxy_process(folder, server_port, tls=files(folder, certificates.pair())) as (_, public),
        server(server_port),
    ):
        yield public


def asked(port: int, *, chain: str = "", name: str = NAME, **request: object) -> ServiceAnswer:
    """Ask as a run does: at the address, by the name of the certificate."""
    words: dict[str, object] = {"token": TOKEN, "timeout_seconds": 60.0, **request}
    url = f"https://{name}:{port}"
    return HttpServices().ask(
        ServiceRequest(url=url, address="127.0.0.1", chain=chain or certificates.pair().cert, **words)  # type: ignore[arg-type]
    )


def client(port: int) -> ssl.SSLSocket:
    """Return a connection that sees whether an answer was cut."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    context = certificate.trusting(certificates.pair().cert, checks_name=True)
    return context.wrap_socket(raw, server_hostname=NAME, suppress_ragged_eofs=False)


def test_the_server_answers_by_https_to_its_token_alone(port: int) -> None:
    answer = asked(port, path="/v1/x", body=b'{"a": 1}')
    assert (answer.status, answer.problem) == (200, "")
    document = json.loads(answer.body)
    assert document["headers"]["Host"] == f"{NAME}:{port}" and "Authorization" not in document["headers"]
    stranger = asked(port, token="")
    assert (stranger.status, stranger.is_from_proxy) == (401, True)


def test_without_a_name_the_certificate_itself_decides(port: int) -> None:
    assert asked(port, name="127.0.0.1").status == 200
    other = asked(port, name="127.0.0.1", chain=certificates.signed(by=certificates.pair()).cert)
    assert other.status == 0 and "CERTIFICATE_VERIFY_FAILED" in other.problem


@pytest.mark.parametrize(
    ("chain", "name"),
    [
        (certificates.pair(kind="rsa:2048").cert, NAME),
        (certificates.pair().cert, "other.example.com"),
        ("the computer's own", NAME),
    ],
    ids=["another certificate of the same name", "another name", "the authorities of this computer"],
)
def test_no_other_certificate_is_trusted(port: int, chain: str, name: str) -> None:
    request = ServiceRequest(url=f"https://{name}:{port}", address="127.0.0.1", chain=chain, token=TOKEN)
    if chain.startswith("the"):
        request = ServiceRequest(url=request.url, address="127.0.0.1", token=TOKEN)
    answer = HttpServices().ask(request)
    assert answer.status == 0 and answer.is_distrusted and "CERTIFICATE_VERIFY_FAILED" in answer.problem


def test_the_authority_of_the_chain_vouches_for_no_other_server(tmp_path: Path) -> None:
    """A chain has the authority's certificate too. Another certificate of that authority is not the given one."""
    authority = certificates.pair(names="DNS:authority.example")
    own, other = certificates.signed(by=authority), certificates.signed(names=f"DNS:{NAME},DNS:b.example", by=authority)
    server_port = free_port()
    chain = Pair(cert=own.cert + authority.cert, key=own.key)
    with proxy_process(tmp_path, server_port, tls=files(tmp_path, chain)) as (_, public), server(server_port):
        assert asked(public, chain=chain.cert).status == 200
        refused = asked(public, chain=other.cert + authority.cert)
        assert refused.status == 0 and "CERTIFICATE_VERIFY_FAILED" in refused.problem


@pytest.mark.parametrize("name", ["127.0.0.1", NAME])
def test_another_certificate_of_a_trusted_authority_gets_no_token(tmp_path: Path, name: str) -> None:
    """The authority's own certificate is the trusted one. Its other servers are strangers, with this name too."""
    authority = certificates.pair(names=f"DNS:{NAME}")
    server_port = free_port()
    tls = files(tmp_path, certificates.signed(by=authority))
    with proxy_process(tmp_path, server_port, tls=tls) as (_, public), server(server_port):
        answer = asked(public, chain=authority.cert, name=name)
    assert (answer.status, answer.is_distrusted) == (0, True)
    assert answer.problem.startswith("SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED: ")


@pytest.mark.parametrize("path", ["/slow", "/drip", "/nonsense"])
def test_a_hostile_answer_ends_in_time_by_https_too(port: int, path: str) -> None:
    """The server sends for 100 s and more, so a bound of 60 s holds on a busy computer too."""
    answer = asked(port, path=path, timeout_seconds=1.0)
    assert answer.status == 0 and answer.problem and answer.seconds < 60


def test_a_server_that_never_shakes_hands_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = asked(silent.getsockname()[1], timeout_seconds=0.5)
    assert answer.status == 0 and answer.problem and answer.seconds < 60 and not answer.is_distrusted


def test_a_long_answer_to_a_slow_reader_arrives_whole_and_with_its_end(port: int) -> None:
    """The answer has no length, so only the end of TLS tells a whole answer from a cut one."""
    with client(port) as one:
        one.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n\r\n")
        answer = bytearray(one.recv(100))
        threading.Event().wait(0.5)  # the buffers of the way fill up
        while part := one.recv(1 << 14):  # a cut answer raises SSLEOFError
            answer += part
    assert len(answer.partition(b"\r\n\r\n")[2]) == LARGEST_ANSWER + 100_000


def test_a_websocket_carries_bytes_both_ways_at_once(port: int) -> None:
    """More than all buffers of the way hold: one that only reads or only writes at a time would stand still."""
    sent = b"0123456789abcdef" * 500_000
    with client(port) as one:
        lines = [b"GET /websocket HTTP/1.1", b"Host: x", b"Connection: Upgrade", b"Upgrade: WebSocket", BEARER]
        one.sendall(b"\r\n".join([*lines, b"", b""]))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += one.recv(65536)
        assert answer.startswith(b"HTTP/1.1 101 ")
        came = bytearray(answer.partition(b"\r\n\r\n")[2])
        # The client of this test does one thing at a time, with a window between the two.
        for at in range(0, len(sent), 1 << 16):
            one.sendall(sent[at : at + (1 << 16)])
            while len(came) < at - (1 << 18):
                came += one.recv(1 << 16)
        while len(came) < len(sent):
            came += one.recv(1 << 16)
    assert bytes(came) == sent


def test_openssl_s_own_client_accepts_it(port: int, tmp_path: Path) -> None:
    chain, _ = files(tmp_path, certificates.pair())
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME, "-verify_hostname", NAME]
    words += ["-partial_chain", "-CAfile", chain, "-verify_return_error", "-quiet", "-ign_eof"]
    request = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    result = subprocess.run(words, input=request, capture_output=True, text=True, check=False, timeout=60)
    assert result.stdout.startswith("HTTP/1.1 200 "), result.stderr


def spoken(port: int, version: str) -> str | None:
    """Return the version of TLS on which a client and the proxy agree, if the client speaks this one alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw, context.wrap_socket(raw) as one:
        return one.version()


def test_no_version_before_1_2_is_spoken(port: int) -> None:
    assert (spoken(port, "TLSv1_2"), spoken(port, "TLSv1_3")) == ("TLSv1.2", "TLSv1.3")
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        spoken(port, "TLSv1_1")


FORGED = [
    *(
        b"X-Forwarded-Proto: http",
        b"X_Forwarded_Proto: ftp",
        b"X-FORWARDED-HOST: a.example",
    ),
    *(b"X-Forwarded-For: 10.9.9.9", b"Forwarded: for=10.9.9.9;proto=http", b"X-Forwarded: x"),
]


@pytest.mark.parametrize("is_tls", [False, True])
def test_the_server_hears_of_the_way_from_the_proxy_alone(tmp_path: Path, is_tls: bool) -> None:
    """A server that believes in plain HTTP redirects there, and a caller sends the token along in the clear."""
    server_port = free_port()
    with server(server_port), proxy_here(server_port, here(tmp_path) if is_tls else None) as url:
        public = int(url.rpartition(":")[2])
        with client(public) if is_tls else socket.create_connection(("127.0.0.1", public), timeout=60) as one:
            one.sendall(b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", b"X-Own: y", *FORGED, BEARER, b"", b""]))
            answer = b""
            while part := one.recv(65536):
                answer += part
    document = json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]
    scheme = "https" if is_tls else "http"
    assert document == {"Host": "x", "X-Own": "y", "X-Forwarded-Proto": scheme, "Connection": "close"}


def test_a_farewell_waits_as_long_as_a_head_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller reads nothing, so the farewell never leaves."""
    waits: list[float] = []

    class Full:
        def __init__(self, **_: object) -> None: ...
        def register(self, *_: object) -> None: ...
        def poll(self, milliseconds: float) -> list[int]:
            waits.append(milliseconds)
            return []

    class FullSocket:
        def close(self) -> None: ...
        def unwrap(self) -> None:
            raise ssl.SSLWantWriteError

    ours, theirs = socket.socketpair()
    with ours, theirs:
        one = proxy_program.Encrypted(ours, here(tmp_path))
        one.tls.close()
        one.tls = FullSocket()  # type: ignore[assignment]
        monkeypatch.setattr(select, "poll", Full)
        one.settimeout(proxy_program.IDLE_SECONDS)
        one.shutdown(socket.SHUT_WR)
        one.close()
    assert len(waits) == 2 and max(waits) <= proxy_program.HEAD_SECONDS * 1000


def test_both_limits_of_connections_fit_into_its_descriptors(tmp_path: Path) -> None:
    needed = 3 * proxy_program.MOST_CONNECTIONS + 2 * proxy_program.MOST_STRANGERS + 32
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[0]), before[1]))
    try:
        with proxy_process(tmp_path, free_port()) as (process, _):
            soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert hard == before[1] and soft == min(hard, proxy_program.MOST_FILES) and needed <= proxy_program.MOST_FILES


def test_plain_http_gets_a_short_answer_that_names_https(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n\r\n")
        answer = b""
        while part := one.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ") and b"this port takes https:// alone" in answer


@pytest.mark.parametrize("beginning", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"\x16" + b"\xff" * 100, b"GE"])
def test_a_connection_that_does_not_go_on_keeps_nobody_waiting(port: int, beginning: bytes) -> None:
    """They wait for ten seconds each. If one of them blocked the others, the requests would end without an answer."""
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(8)]
    try:
        for one in waiting:
            one.sendall(beginning)
        assert asked(port, timeout_seconds=9.0).status == 200
    finally:
        for one in waiting:
            one.close()


def here(tmp_path: Path) -> ssl.SSLContext:
    return proxy_program.encryption(*files(tmp_path, certificates.pair()))


@pytest.mark.parametrize("after_handshake", [False, True])
def test_bytes_that_drip_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_handshake: bool) -> None:
    """Each piece comes in time, for a minute and more."""
    monkeypatch.setattr(proxy_program, "HEAD_SECONDS", 0.5)
    with proxy_here(free_port(), here(tmp_path)) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        one: socket.socket = client(address[1]) if after_handshake else socket.create_connection(address)
        with one:
            one.settimeout(0.1)
            pieces, is_over = 0, False
            one.sendall(
                b"GET / HTTP/1.1\r\nA: " if after_handshake else b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"
            )
            while not is_over and pieces < 600:
                pieces += 1
                try:
                    one.sendall(b"x")
                    is_over = one.recv(65536)[:13] in {b"", b"HTTP/1.1 400 "}
                except TimeoutError:
                    continue
                except OSError:
                    is_over = True
        assert is_over


@pytest.mark.parametrize("has_shaken_hands", [False, True])
def test_people_without_the_token_cannot_take_the_places_of_those_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_shaken_hands: bool
) -> None:
    monkeypatch.setattr(proxy_program, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(proxy_program, "MOST_STRANGERS", 4)
    server_port = free_port()
    with server(server_port), proxy_here(server_port, here(tmp_path)) as url:
        public = int(url.rpartition(":")[2])
        open_one = client(public)
        lines = [b"GET /websocket HTTP/1.1", b"Host: x", b"Connection: Upgrade", b"Upgrade: WebSocket", BEARER]
        open_one.sendall(b"\r\n".join([*lines, b"", b""]))
        assert open_one.recv(12) == b"HTTP/1.1 101"
        strangers: list[socket.socket] = []
        for _ in range(9):
            plain = socket.create_connection(("127.0.0.1", public), timeout=60)
            strangers.append(client(public) if has_shaken_hands else plain)
            if has_shaken_hands:
                plain.close()
        try:
            assert asked(public).status == 200
            try:
                assert strangers[0].recv(65536) == b"", "the oldest one had to go"
            except OSError:
                assert has_shaken_hands, "its TLS ended without a farewell"
            open_one.sendall(b"hello")
            while not (part := open_one.recv(65536)).endswith(b"hello"):
                assert part
        finally:
            for one in (open_one, *strangers):
                one.close()


def test_files_that_are_no_pair_end_the_proxy_before_it_listens(tmp_path: Path) -> None:
    wrong = Pair(cert=certificates.pair().cert, key=certificates.pair(kind="rsa:2048").key)
    words = [str(tmp_path / "ready"), str(free_port()), str(free_port()), "d", "0.0.0.0/0", "--tls"]
    result = subprocess.run([*PROXY, *words, *files(tmp_path, wrong)], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "cannot use the certificate of this" in result.stdout
    assert not (tmp_path / "ready").exists()
