"""HTTP answers with bounds: so many bytes as they come out, so many seconds, no second address, one attempt.

Every client that shows a credential uses a session of this file. `requests` alone follows a redirect with its
credentials and reads an answer of any size. urllib3 reads the rest of an answer that it repeats. So neither of them
follows, reads or repeats anything here. Every failure is a requests.RequestException.
"""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

MOST_BYTES = 32 << 20
"""Of one answer, unpacked. A page of 100 comments, each as long as GitHub allows, is 26 MB."""
MOST_SECONDS = 60.0
"""For the whole body of one answer, however steadily it drips."""
LISTING_SECONDS = 600.0
"""For all pages of one listing."""
_PIECE = 1 << 16


class OutOfBounds(requests.RequestException):
    """An answer that is too long, too slow, or sends us and our credentials to another address."""


class NoJson(requests.RequestException):
    """An answer that is not JSON, where only JSON is an answer."""


class TimedAdapter(HTTPAdapter):
    """One attempt, and a head that arrives within `seconds`. The caller reads the body."""

    def __init__(self, *, seconds: float, connections: int = 10) -> None:
        self._seconds = seconds
        super().__init__(pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that hang up when the head of an answer takes too long."""
        super().init_poolmanager(*args, **kwargs)
        manager: Any = self.poolmanager
        manager.pool_classes_by_scheme = timed(manager.pool_classes_by_scheme, seconds=self._seconds)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make such connections through a proxy too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        if not hasattr(manager, "is_timed"):
            manager.pool_classes_by_scheme = timed(manager.pool_classes_by_scheme, seconds=self._seconds)
            manager.is_timed = True
        return manager


class BoundedAdapter(TimedAdapter):
    """One attempt, one address, one body that is held whole: nothing of it is left to read without a bound."""

    def __init__(self, *, most_bytes: int = MOST_BYTES, seconds: float = MOST_SECONDS, connections: int = 10) -> None:
        self._most_bytes = most_bytes
        super().__init__(seconds=seconds, connections=connections)

    def send(self, request: requests.PreparedRequest, *_: Any, **kwargs: Any) -> requests.Response:
        """Raise OutOfBounds for a redirect too: a session follows one only after this."""
        until = time.monotonic() + self._seconds
        try:
            answer = super().send(request, **{**kwargs, "stream": True})
        except requests.RequestException:
            in_time(until)
            raise
        except Exception as error:  # noqa: BLE001  urllib3 and http.client have more of their own than requests knows
            in_time(until)
            raise requests.ConnectionError(f"{type(error).__name__}: {str(error)[:200]}") from None
        is_complete = False
        try:
            if 300 <= answer.status_code < 400:
                raise OutOfBounds(f"answer {answer.status_code} sends us elsewhere, where our credentials do not go")
            content = read(answer, most=self._most_bytes, until=until)
            answer.raw.release_conn()
            answer.raw, is_complete = io.BytesIO(content), True
        finally:
            if not is_complete:
                answer.close()
        return answer


def session(
    *, authorization: str = "", most_bytes: int = MOST_BYTES, seconds: float = MOST_SECONDS
) -> requests.Session:
    """Return a requests.Session that shows this and nothing else: no ~/.netrc, which would take its place."""
    new = requests.Session()
    new.auth = _as_it_is
    if authorization:
        new.headers["Authorization"] = authorization
    return bind(new, most_bytes=most_bytes, seconds=seconds)


def bind(target: requests.Session, *, most_bytes: int = MOST_BYTES, seconds: float = MOST_SECONDS) -> requests.Session:
    """Give the same bounds to a session that another library made."""
    for scheme in ("https://", "http://"):
        target.mount(scheme, BoundedAdapter(most_bytes=most_bytes, seconds=seconds))
    target.max_redirects = 0
    return target


def timed(pools: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
    """Return urllib3's pools by scheme, whose connections hang up when a step takes so many seconds.

    A step: to connect, with a proxy's answer and the handshake of TLS; to get the head of an answer.

    A time-out of a socket starts again with each byte, and http.client skips any number of answers `100 Continue`.
    """
    return {scheme: _timed_pool(pool, seconds) for scheme, pool in pools.items()}


def _timed_pool(pool: Any, seconds: float) -> Any:
    ordinary: Any = pool.ConnectionCls

    class TimedConnection(ordinary):  # type: ignore[misc]
        def _new_conn(self) -> Any:
            new = super()._new_conn()
            # `ssl` takes the socket away from its owner during the handshake; a copy can still hang up.
            self._own_copy = new.dup()
            return new

        def connect(self) -> None:
            """Connect, with the answer of a proxy and the handshake of TLS: each is read in pieces."""
            self._own_copy = None
            try:
                with _hung_up_after(seconds, lambda: self._own_copy) as self._is_overdue:
                    super().connect()
            except Exception:
                self.close()
                raise
            finally:
                if self._own_copy is not None:
                    self._own_copy.close()

        def _tunnel(self) -> None:
            super()._tunnel()
            if self._is_overdue():  # http.client takes a head that was cut for a whole one
                raise OutOfBounds("the answer takes too long")

        def getresponse(self, *args: Any, **kwargs: Any) -> Any:
            with _hung_up_after(seconds, lambda: self.sock) as is_overdue:
                answer = super().getresponse(*args, **kwargs)
                if is_overdue():  # as in a tunnel
                    answer.close()
                    self.close()
            return answer

    return type(pool.__name__, (pool,), {"ConnectionCls": TimedConnection})


@contextmanager
def _hung_up_after(seconds: float, connection: Callable[[], Any]) -> Iterator[Callable[[], bool]]:
    """Shut a connection down when the work takes longer, and raise OutOfBounds for that work."""
    is_overdue = threading.Event()
    end = threading.Timer(seconds, _hang_up, [connection, is_overdue])
    end.daemon = True
    end.start()
    try:
        yield is_overdue.is_set
    except Exception:
        if is_overdue.is_set():
            raise OutOfBounds("the answer takes too long") from None
        raise
    finally:
        end.cancel()
    if is_overdue.is_set():
        raise OutOfBounds("the answer takes too long")


def _hang_up(connection: Callable[[], Any], is_overdue: threading.Event) -> None:
    is_overdue.set()
    with suppress(OSError, AttributeError):
        connection().shutdown(socket.SHUT_RDWR)


def in_time(until: float) -> None:
    """Raise OutOfBounds after this moment of the monotonic clock."""
    if time.monotonic() >= until:
        raise OutOfBounds("the answer takes too long")


class Body(Protocol):
    """An answer whose body was not read yet."""

    raw: Any


def read(answer: Body, *, most: int, until: float) -> bytes:
    """Return the body, unpacked. `until`: a moment of the monotonic clock.

    A piece holds the bytes that are there (`read1`), so a body that drips cannot hold the reader within one piece.
    A small gzip may hold gigabytes: urllib3 unpacks no more than a piece at a time.
    """
    content = bytearray()
    try:
        while piece := answer.raw.read1(_PIECE, decode_content=True):
            content += piece
            if len(content) > most:
                raise OutOfBounds(f"the answer is longer than {most / (1 << 20):g} MiB")
            in_time(until)
        in_time(until)
    except (HTTPError, OSError, ValueError) as error:
        if isinstance(error, requests.RequestException):
            raise
        raise requests.ConnectionError(f"{type(error).__name__}: {str(error)[:200]}") from None
    return bytes(content)


def parsed(content: bytes) -> Any:
    """Return the value of this JSON. Raise NoJson where it cannot be read, for any reason."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError, MemoryError):
        raise NoJson(f"the answer is {_describe(content)}") from None


def _describe(content: bytes) -> str:
    """Describe the kind of content, and quote nothing of it: it may hold a token."""
    head = content[:200].lstrip()
    return "empty" if not head else "a web page and no JSON" if head.startswith(b"<") else "no JSON"


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
