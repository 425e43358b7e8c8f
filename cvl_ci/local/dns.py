"""Ask this computer's DNS for the IPv4 addresses of a name. It raises no error, and waits some seconds at most."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading

SECONDS = 5.0
"""The longest time of an answer. A computer without a way to its DNS would wait longer."""


def addresses_of(name: str) -> tuple[str, ...]:
    """Return the addresses that a name leads to; none if it leads nowhere, or if there is no answer in time."""
    answers: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_ask(name)), daemon=True).start()
    with contextlib.suppress(queue.Empty):
        return answers.get(timeout=SECONDS)
    return ()


def _ask(name: str) -> tuple[str, ...]:
    try:
        records = socket.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a UnicodeError is a ValueError
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in records))
