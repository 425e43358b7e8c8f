"""Services that run already: `deploy --list`, `--status` and `--logs`, by the records of this computer."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci import wiring
from cvl_ci.cli.main import main
from cvl_ci.commands.status import Overview
from cvl_ci.engine import session as sessions
from cvl_ci.engine.job_log import READ
from cvl_ci.engine.machine_log import SkyPilotMachineLog
from cvl_ci.engine.session import Session
from cvl_ci.local import http_services
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.lease_records import FileRecords
from cvl_ci.model.lease_name import service_labels
from cvl_ci.model.location import REPLICATED, Location
from cvl_ci.ports import Cloud, LeaseRecord, Watch
from tests import golden
from tests.local.test_http_services import TOKEN, free_port, proxy_process, server
from tests.support import certificates
from tests.support.fakes import FakeClock, FakeCloud, FakeClouds, FakeEngine

MESSAGES = golden.Messages(__name__)

NAME = "cvl-1-0a1b2c3d"
NOWHERE = "192.0.2.77"
"""An address at which nothing answers."""
JOB = "(serve, pid=691) "
RECORD = LeaseRecord(
    name=NAME,
    labels=service_labels("203.0.113.7", 8080),
    deadline=FakeClock().now(),
    locations=(Location(cloud="sandbox"),),
    regions=("sandbox/us-east-1",),
    taken_at=FakeClock().now() - 60,
)


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileRecords:
    for name in ("XDG_STATE_HOME", "CVL_CI_SANDBOX_DIR", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return FileRecords(tmp_path / ".local/state/cvl-ci/leases", warn=print)


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["deploy", *words])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


class Log:
    """The log of a machine: its lines, and the questions for it."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.questions = lines, list[tuple[str, int, bool]]()

    def state(self, cluster: str) -> str:
        return "1 PROVISIONING, 1 READY" if cluster == NAME else ""

    def show(self, cluster: str, *, count: int, is_following: bool, line: Callable[[str], None]) -> None:
        self.questions.append((cluster, count, is_following))
        for text in self.lines:
            line(text)


class Clouds(FakeClouds):
    """A cloud with this log. It notes how it was opened."""

    log: Log
    options: dict[str, object]

    @contextmanager
    def open(self, locations: Sequence[Location], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        with super().open(locations, user_id=user_id, watch=watch) as cloud:
            yield replace(cloud, log=self.log)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Clouds]:
    """Return a function that gives the machine these lines."""

    def with_lines(*lines: str) -> Clouds:
        clouds = Clouds(FakeEngine(FakeCloud(FakeClock())))
        clouds.log = Log(*lines)

        def opened(_: object, **options: object) -> Clouds:
            clouds.options = options
            return clouds

        monkeypatch.setattr(wiring, "OpenClouds", opened)
        return clouds

    return with_lines


def test_the_list_shows_an_open_service(records: FileRecords, capsys: pytest.CaptureFixture[str]) -> None:
    records.write(RECORD)
    code, out, _ = typed(capsys, "--list")
    assert code == 0 and f"{NAME}: since" in out and "serves at http://203.0.113.7:8080" in out


def test_the_log_comes_from_the_machine_and_nothing_is_started(
    records: FileRecords, machine: Callable[..., Clouds], capsys: pytest.CaptureFixture[str]
) -> None:
    records.write(RECORD)
    clouds = machine("loading", "listening")
    assert typed(capsys, "--logs", NAME) == (0, "loading\nlistening\n", "")
    assert clouds.log.questions == [(NAME, 200, False)]
    assert clouds.options == {"to_look": True}, "as `status` opens it: nothing starts or stops"
    assert list(clouds.opened[0]) == [Location(cloud="sandbox", region="us-east-1")]
    typed(capsys, "--logs", NAME, "--follow")
    assert clouds.log.questions[1:] == [(NAME, 200, True)]


def test_a_hostile_line_shows_no_secret_moves_no_cursor_and_is_no_command(
    records: FileRecords,
    machine: Callable[..., Clouds],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records.write(RECORD)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("CVL_CI_DEPLOY_TOKEN", "a-token-of-the-callers-0123456789")
    machine("a-token-of-the-callers-\x1b[31m0123456789", "\x1b]0;title\x07\x1b[2J\x9b1Aa", "::add-mask::b", "\u202ec")
    code, out, _ = typed(capsys, "--logs", NAME)
    assert code == 0
    assert "0123456789" not in out and "***" in out
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)
    assert not any(line.lstrip().startswith("::") for line in out.splitlines()) and "add-mask" in out


class Sent:
    """The process that reads a machine's log, with these pieces of it: `rest` goes on in the same line."""

    alive, busy = True, False

    def __init__(self, *pieces: tuple[str, str]) -> None:
        self.pieces = pieces

    def call(self, _verb: str, **answers: Any) -> str:
        for kind, text in self.pieces:
            answers[f"on_{kind}"](text)
        return READ

    def abort(self) -> None: ...
    def kill(self) -> None: ...


def test_a_secret_in_several_lines_or_pieces_is_hidden(
    records: FileRecords,
    machine: Callable[..., Clouds],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789" * 4
    encoded = base64.b64encode(b"user:" + secret.encode()).decode()
    broken = [encoded[at : at + 76] for at in range(0, len(encoded), 76)]
    long = "x" * ((1 << 20) - 40)
    pieces = [*(("line", JOB + one) for one in broken), ("line", JOB + long + secret[:40]), ("rest", secret[40:] + "!")]
    monkeypatch.setattr(sessions, "Worker", lambda **_: Sent(*pieces))
    monkeypatch.setenv("HF_TOKEN", secret)
    records.write(RECORD)
    machine().log = SkyPilotMachineLog(Session(environment={}, clock=SystemClock()))  # type: ignore[assignment]
    code, out, _ = typed(capsys, "--logs", NAME)
    shown = out.splitlines()
    assert code == 0 and len(shown) == len(pieces)
    assert all(len(line.replace("***", "")) <= 8 for line in shown[: len(broken)]), shown[: len(broken)]
    assert [line.strip("x") for line in shown[len(broken) :]] == ["***", "***!"]


def test_a_cloud_that_gives_no_answer_does_not_say_that_a_service_is_not_open(
    records: FileRecords, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Overview(at=0.0, unproved=("aws",))
    monkeypatch.setattr(wiring, "status", lambda *_, **__: silent)
    code, out, err = typed(capsys, "--logs", NAME, "--cloud", "aws")
    assert (code, out) == (79, "")
    MESSAGES.check("no answer of a cloud", golden.sentence(err, "answered what runs there"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a machine's proxy with a certificate, before a server."""
    folder, server_port, own = tmp_path_factory.mktemp("tls"), free_port(), certificates.pair()
    (folder / "cert.pem").write_text(own.cert)
    (folder / "key.pem").write_text(own.key)
    tls = (str(folder / "cert.pem"), str(folder / "key.pem"))
    with proxy_process(folder, server_port, tls=tls) as (_, port), server(server_port):
        yield port


def test_a_service_with_a_certificate_is_asked_by_https(
    records: FileRecords, encrypted: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records.write(replace(RECORD, labels=service_labels("127.0.0.1", encrypted, is_encrypted=True)))
    code, out, err = typed(capsys, "--status", NAME)
    assert code == 70 and f"https://127.0.0.1:{encrypted}" in out and "name its file: --tls-cert FILE" in err
    (tmp_path / "own.pem").write_text(certificates.pair().cert)
    code, out, _ = typed(capsys, "--status", NAME, "--tls-cert", str(tmp_path / "own.pem"))
    assert code == 0
    MESSAGES.check("the proxy answers", golden.sentence(out, "Its proxy answers"))
    assert "is not a file" in typed(capsys, "--status", NAME, "--tls-cert", str(tmp_path / "absent"))[2]


class Dns:
    """The addresses of the certificate's name. None: no server answers. It notes each address that is connected to."""

    def __init__(self) -> None:
        self.answer: tuple[str, ...] | None = None
        self.asked, self.connected = list[str](), list[object]()

    def find(self, name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        self.asked.append(name)
        if self.answer is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.answer]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    dns, connect = Dns(), http_services._TimedSocket.connect

    def connect_noted(sock: http_services._TimedSocket, address: tuple[str, int]) -> None:
        dns.connected.append(address[0])
        if address[0] == NOWHERE:
            raise ConnectionRefusedError
        connect(sock, address)

    monkeypatch.setattr(socket, "getaddrinfo", dns.find)
    monkeypatch.setattr(http_services._TimedSocket, "connect", connect_noted)
    return dns


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "This computer found no address for that name."),
        ((), "This computer found no address for that name."),
        (("127.0.0.1",), "Its DNS leads there."),
        (("203.0.113.9",), "Its DNS leads to 203.0.113.9 now, so its callers may reach another machine."),
        (("127.0.0.1", "203.0.113.9"), "Its DNS leads to 203.0.113.9 now, so its callers may reach another machine."),
    ],
)
def test_a_service_with_a_name_is_asked_at_its_own_address(  # noqa: PLR0917  the columns of a table
    answer: tuple[str, ...] | None,
    sentence: str,
    records: FileRecords,
    dns: Dns,
    encrypted: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own.pem").write_text(certificates.pair().cert)
    labels = service_labels("127.0.0.1", encrypted, is_encrypted=True, domain=certificates.NAME)
    records.write(replace(RECORD, labels=labels))
    dns.answer = answer
    code, out, err = typed(capsys, "--status", NAME, "--tls-cert", str(tmp_path / "own.pem"))
    assert code == 0, err
    MESSAGES.check("the proxy answers", golden.sentence(out, "Its proxy answers"))
    assert f"serves at https://{certificates.NAME}:{encrypted} on 127.0.0.1" in out
    assert f"point {certificates.NAME} at 127.0.0.1: an A record of its DNS" in out and sentence in out
    assert (dns.connected, dns.asked) == (["127.0.0.1"], [certificates.NAME])


def test_an_older_machine_does_not_answer_for_a_new_one(
    records: FileRecords, dns: Dns, encrypted: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name still leads to the older machine, which is healthy. Nothing answers at the new one's address."""
    (tmp_path / "own.pem").write_text(certificates.pair().cert)
    labels = service_labels(NOWHERE, encrypted, is_encrypted=True, domain=certificates.NAME)
    records.write(replace(RECORD, labels=labels))
    dns.answer = ("127.0.0.1",)
    code, out, err = typed(capsys, "--status", NAME, "--tls-cert", str(tmp_path / "own.pem"))
    assert code == 70 and "does not answer as its proxy does" in err
    assert "Its DNS leads to 127.0.0.1 now" in out and dns.connected == [NOWHERE]


def test_a_service_without_a_name_asks_no_dns(
    records: FileRecords, dns: Dns, encrypted: int, capsys: pytest.CaptureFixture[str]
) -> None:
    records.write(replace(RECORD, labels=service_labels("127.0.0.1", encrypted, is_encrypted=True)))
    _, out, _ = typed(capsys, "--status", NAME)
    assert "DNS" not in out and not dns.asked and dns.connected == ["127.0.0.1"]


def test_smoke_requests_alone_trust_the_named_certificate(
    records: FileRecords,
    encrypted: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CVL_CI_DEPLOY_TOKEN", TOKEN)
    (tmp_path / "own.pem").write_text(certificates.pair().cert)
    words = ("--steps", "smoke", "--url", f"https://127.0.0.1:{encrypted}")
    assert "CERTIFICATE_VERIFY_FAILED" in typed(capsys, *words)[2]
    code, out, err = typed(capsys, *words, "--tls-cert", str(tmp_path / "own.pem"))
    assert code == 0 and "20 requests to /: status 200" in out, err


@pytest.mark.parametrize(
    ("record", "words", "problem", "code"),
    [
        (None, ("--logs", NAME), "is not an open service by the records here; give its cloud too", 64),
        (None, ("--logs", "../x"), "is not an open service by the records here", 64),
        (replace(RECORD, released_at=RECORD.deadline), ("--logs", NAME), "has ended: its machine is gone", 64),
        (replace(RECORD, released_at=RECORD.deadline), ("--status", NAME), "has ended: its machine is gone", 64),
        (RECORD, ("--logs", NAME), "This computer cannot reach the machine", 70),
        (RECORD, ("--follow",), "works only with --logs NAME", 64),
    ],
)
def test_each_mistake_is_one_error(  # noqa: PLR0917  the columns of a table
    record: LeaseRecord | None,
    words: tuple[str, ...],
    problem: str,
    code: int,
    records: FileRecords,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The sandbox of the record does not run."""
    if record is not None:
        records.write(record)
    ended, out, err = typed(capsys, *words)
    assert (ended, out) == (code, "") and problem in " ".join(err.split())
    assert "billed" in err


def test_the_replicas_of_a_service_are_shown_before_its_answer(
    records: FileRecords, machine: Callable[..., Clouds], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine()
    own_port = free_port()
    with proxy_process(tmp_path, own_port) as (_, port), server(own_port):
        place = Location(cloud=REPLICATED)
        labels = service_labels("127.0.0.1", port)
        records.write(replace(RECORD, labels=labels, locations=(place,), regions=(f"{REPLICATED}/us-east-1",)))
        code, out, err = typed(capsys, "--status", NAME)
    assert code == 0, out + err
    assert "replicas: 1 PROVISIONING, 1 READY" in out and "asks for the token" in out
