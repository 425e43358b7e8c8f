"""An update of an environment under traffic: real proxies of two machines, on a cloud in a dict.

A new service has another address. A client that takes each new address within the time of two services has no failed
request. The proxy of the older machine dies with it, without a word to its connections.
"""

from __future__ import annotations

import random
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cvl_ci.commands.deploy.rollout import DRAIN_SECONDS
from cvl_ci.model.outcome import Outcome
from cvl_ci.ports import Resource
from tests.commands.test_previews import World
from tests.github.api import Api
from tests.local.test_http_services import TOKEN, free_port, proxy_process
from tests.support.cases import generated
from tests.support.fakes import FakeClock

REQUESTS, CLIENTS = generated(10_000), 8
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

COUNTING = threading.Lock()


class Server(socketserver.ThreadingTCPServer):
    """A server that counts its answers."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    answers = 0

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            with COUNTING:
                self.server.answers += 1  # type: ignore[attr-defined]
            self.wfile.write(ANSWER)


@dataclass
class Traffic:
    """Clients that each read the present address, send one request, and begin again."""

    address: tuple[str, int]
    answered: int = 0
    failed: int = 0
    enough: int = REQUESTS
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.threads = [threading.Thread(target=self._send, daemon=True) for _ in range(CLIENTS)]
        for one in self.threads:
            one.start()

    def wait_for(self, more: int) -> None:
        """Wait until so many more requests are over."""
        with self.changed:
            end = min(self.enough, self.answered + self.failed + more)
            self.changed.wait_for(lambda: self.answered + self.failed >= end)

    def _send(self) -> None:
        while self.answered + self.failed < self.enough:
            is_good = _is_answered(self.address)
            with self.changed:
                self.answered, self.failed = self.answered + is_good, self.failed + (not is_good)
                self.changed.notify_all()


def _is_answered(address: tuple[str, int]) -> bool:
    request = f"GET / HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    try:
        with socket.create_connection(address, timeout=60) as one:
            one.sendall(request)
            data = b""
            while part := one.recv(4096):
                data += part
    except OSError:
        return False
    return data == ANSWER


class Clock(FakeClock):
    """A clock without waiting, but for the time of two services: then `drain` decides."""

    drain: Callable[[], None] = staticmethod(lambda: None)

    def sleep(self, seconds: float) -> None:
        if seconds == DRAIN_SECONDS:
            self.drain()
        super().sleep(seconds)


@dataclass
class Two:
    """Two machines with their proxies and servers, and the environment that they belong to."""

    world: World
    clock: Clock
    servers: list[Server]
    addresses: list[tuple[str, int]]
    kill_old: Callable[[], None]

    def update(self, traffic: Traffic, *, announce: Callable[[Outcome, Sequence[str]], None]) -> None:
        """Roll out while requests run. The older machine's proxy dies with the machine."""
        remove = self.world.cloud.remove

        def removing(resources: Sequence[Resource]) -> object:
            self.kill_old()
            return remove(resources)

        self.world.cloud.remove = removing  # type: ignore[method-assign,assignment]
        self.clock.drain = lambda: traffic.wait_for(REQUESTS // 5)
        rolled = self.world.roll_out("b" * 40, environment="main", announce=announce)
        assert rolled.outcome is not None and rolled.outcome.exit_code == 0 and not rolled.unproved
        assert len(self.world.serving()) == 1


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with Api().serving() as api, ExitStack() as stack:
        clock = Clock()
        world = World(api=api, folder=tmp_path, dice=random.Random(1), clock=clock)
        assert world.roll_out("a" * 40, environment="main").outcome is not None
        ports = [free_port(), free_port()]
        old, new = (stack.enter_context(proxy_process(tmp_path, port)) for port in ports)
        servers = [stack.enter_context(_serving(port)) for port in ports]
        addresses = [("127.0.0.1", port) for _, port in (old, new)]
        yield Two(world=world, clock=clock, servers=servers, addresses=addresses, kill_old=old[0].kill)


@contextmanager
def _serving(port: int) -> Iterator[Server]:
    with Server(("127.0.0.1", port), Server.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.minutes(2)
def test_of_thousands_of_requests_over_an_update_none_fails(two: Two) -> None:
    traffic = Traffic(address=two.addresses[0])
    traffic.wait_for(REQUESTS // 4)

    def announce(_: Outcome, older: Sequence[str]) -> None:
        assert len(older) == 1 and len(two.world.cloud.running()) == 2, "both answer"
        traffic.address = two.addresses[1]

    two.update(traffic, announce=announce)
    traffic.wait_for(REQUESTS)
    for one in traffic.threads:
        one.join()
    assert traffic.failed == 0
    assert traffic.answered >= REQUESTS
    old, new = (one.answers for one in two.servers)
    assert old >= REQUESTS // 4 and new >= REQUESTS // 5 and old + new == traffic.answered


def test_clients_that_nobody_tells_fail_from_the_end_of_the_older_machine(two: Two) -> None:
    """The counts above mean something: without the announcement, requests fail."""
    traffic = Traffic(address=two.addresses[0], enough=400)
    traffic.wait_for(100)
    two.update(traffic, announce=lambda *_: setattr(traffic, "enough", traffic.answered + 2200))
    traffic.wait_for(2200)
    for one in traffic.threads:
        one.join()
    assert traffic.failed > 0 and two.servers[1].answers == 0
