"""A question to DNS ends in addresses or in none: it raises nothing, and does not wait for a silent server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from cvl_ci.local import dns

NAME = "models.example.com"


def answers(*addresses: str) -> Callable[..., object]:
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


def test_each_address_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("203.0.113.7", "203.0.113.8", "203.0.113.7"))
    assert dns.addresses_of(NAME) == ("203.0.113.7", "203.0.113.8")


@pytest.mark.parametrize(
    "error", [socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), OSError("x"), UnicodeError("label too long")]
)
def test_a_failure_is_no_address(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(dns, "SECONDS", 60.0)
    assert dns.addresses_of(NAME) == ()


def test_a_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()

    def wait(*_: object, **__: object) -> object:
        is_over.wait()
        return answers("203.0.113.7")()

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    monkeypatch.setattr(dns, "SECONDS", 0.01)
    try:
        assert dns.addresses_of(NAME) == ()
    finally:
        is_over.set()
