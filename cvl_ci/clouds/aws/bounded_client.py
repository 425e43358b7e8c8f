"""The bounds of bounded.py for a botocore client: it reads an answer of any size, for as long as bytes come."""

from __future__ import annotations

import io
import time
from typing import Any

from cvl_ci import bounded


def bind(
    client: Any,
    *,
    most_bytes: int = bounded.MOST_BYTES,
    seconds: float = bounded.MOST_SECONDS,
    leaves_streams: bool = False,
) -> None:
    """Give a client of botocore bounds of bytes and seconds for each answer. botocore has no setting for them.

    `leaves_streams`: the body of an operation with a streamed answer, such as GetObject, is left to its reader.
    """
    endpoint = client._endpoint  # noqa: SLF001  botocore/client.py, BaseClient; the session: botocore/endpoint.py
    endpoint.http_session = _Session(
        endpoint.http_session, most_bytes=most_bytes, seconds=seconds, leaves_streams=leaves_streams
    )


class _Session:
    """A session of botocore (botocore/httpsession.py, URLLib3Session) that leaves the body to us."""

    def __init__(self, session: Any, *, most_bytes: int, seconds: float, leaves_streams: bool) -> None:
        self._session, self._most_bytes, self._seconds = session, most_bytes, seconds
        self._leaves_streams = leaves_streams
        pools = bounded.timed(session._pool_classes_by_scheme, seconds=seconds)  # noqa: SLF001
        session._pool_classes_by_scheme = session._manager.pool_classes_by_scheme = pools  # noqa: SLF001

    def send(self, request: Any) -> Any:
        """Send a request and read its whole answer. Raise OutOfBounds, for which botocore does not try again."""
        if self._leaves_streams and request.stream_output:
            return self._session.send(request)
        until = time.monotonic() + self._seconds
        request.stream_output = True
        try:
            answer = self._session.send(request)
        except Exception:
            bounded.in_time(until)
            raise
        is_complete = False
        try:
            answer._content = bounded.read(answer, most=self._most_bytes, until=until)  # noqa: SLF001
            answer.raw.release_conn()
            is_complete = True
            # An operation with a streamed answer reads it from here: botocore/endpoint.py, convert_to_response_dict.
            answer.raw = io.BytesIO(answer._content)  # noqa: SLF001
        finally:
            if not is_complete:
                answer.raw.close()
        return answer

    def close(self) -> None:
        self._session.close()
