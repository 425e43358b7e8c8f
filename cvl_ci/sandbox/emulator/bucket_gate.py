"""The faults of the emulated object storage, applied to one request before or after moto answers it."""

from __future__ import annotations

import fnmatch
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from cvl_ci.sandbox.faults import BucketFault, Faults

_PIECE = 16 << 10
_SIGNED_FOR_S3 = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/s3/aws4_request")
_BUCKET_IN_HOST = re.compile(r"(?P<bucket>.+)\.s3[.-]")
"""The virtual-hosted address of a bucket: "Methods for accessing a bucket", Amazon S3 User Guide."""
_REFUSALS = {
    "unavailable": ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
    "denied": ("403 Forbidden", "AccessDenied", "Access Denied"),
}
"""Status, code and message: "Error responses", Amazon S3 API Reference."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class CutOff(Exception):
    """The transfer must end here, without the rest of its bytes."""


class BucketGate:
    """The layer around moto for requests to buckets. `faults`: the faults that hold now."""

    def __init__(self, faults: Callable[[], Faults]) -> None:
        self._faults = faults
        self._uses: dict[BucketFault, int] = {}
        self._lock = threading.Lock()

    def answer(
        self, environ: dict[str, Any], start_response: Callable[..., Any], *, application: Application
    ) -> Iterable[bytes]:
        """Return the application's answer, changed by the first fault for this request. Raises CutOff."""
        fault = self._fault(environ)
        if fault is None:
            return application(environ, start_response)
        if fault.kind in _REFUSALS:
            refusal = _refuse(start_response, *_REFUSALS[fault.kind])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else refusal
        if int(environ.get("CONTENT_LENGTH") or 0):
            environ["wsgi.input"] = _Upload(environ["wsgi.input"], fault, int(environ["CONTENT_LENGTH"]))
        body = b"".join(application(environ, start_response))
        return _changed(body, fault)

    def _fault(self, environ: dict[str, Any]) -> BucketFault | None:
        faults = self._faults().buckets
        if not faults or not _is_for_s3(environ):
            return None
        bucket, key, method = bucket_of(environ), key_of(environ), str(environ["REQUEST_METHOD"])
        with self._lock:
            for fault in faults:
                if fault.bucket not in ("*", bucket) or fault.method not in ("*", method):
                    continue
                if fault.key != "*" and not fnmatch.fnmatchcase(key, fault.key):
                    continue
                if fault.times and self._uses.get(fault, 0) >= fault.times:
                    continue
                self._uses[fault] = self._uses.get(fault, 0) + 1
                return fault
        return None


def bucket_of(environ: dict[str, Any]) -> str:
    """Return the bucket that a request names, in its host or in its path; empty for none."""
    in_host = _BUCKET_IN_HOST.match(str(environ.get("HTTP_HOST", "")))
    if in_host:
        return in_host["bucket"]
    return unquote(urlsplit(str(environ["RAW_URI"])).path).strip("/").partition("/")[0]


def key_of(environ: dict[str, Any]) -> str:
    """Return the key of the object that a request names; empty for a request about a bucket."""
    path = unquote(urlsplit(str(environ["RAW_URI"])).path).lstrip("/")
    return path if _BUCKET_IN_HOST.match(str(environ.get("HTTP_HOST", ""))) else path.partition("/")[2]


def _is_for_s3(environ: dict[str, Any]) -> bool:
    query = unquote(str(environ.get("QUERY_STRING", "")))
    signed = f"{environ.get('HTTP_AUTHORIZATION', '')} {query.replace('X-Amz-Credential', 'Credential')}"
    return _SIGNED_FOR_S3.search(signed) is not None


def _refuse(start_response: Callable[..., Any], status: str, code: str, message: str) -> Iterable[bytes]:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), ("Connection", "close")]
    start_response(status, headers)
    return [body.encode()]


def _changed(body: bytes, fault: BucketFault) -> Iterable[bytes]:
    """Return a body with the fault. Its announced length stays that of the whole body."""
    if fault.kind == "corrupt":
        return [_flip(body)]
    if fault.kind == "slow":
        return _slowly(body, fault.bytes_per_second)
    return _cut(body) if fault.kind == "cut" and len(body) > 1 else [body]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data


def _slowly(body: bytes, pace: int) -> Iterator[bytes]:
    """Yield the body, four pieces a second."""
    piece = max(pace // 4, 1)
    for start in range(0, len(body), piece):
        time.sleep(piece / pace)
        yield body[start : start + piece]


def _cut(body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    raise CutOff


class _Upload:
    """The body of an upload with a fault. Of `length` bytes, half arrive before a cut, and one arrives changed."""

    def __init__(self, source: Any, fault: BucketFault, length: int) -> None:
        self._source, self._kind, self._length = source, fault.kind, length
        self._pace = fault.bytes_per_second
        self._passed = 0

    def read(self, size: int = -1) -> bytes:
        length = self._length - self._passed if size < 0 else min(size, self._length - self._passed)
        if self._kind == "cut":
            self._source.read(min(length, self._length // 2))
            raise CutOff
        data: bytes = self._source.read(length)
        if self._kind == "corrupt" and self._passed == 0:
            data = _flip(data)
        if self._kind == "slow":
            time.sleep(len(data) / self._pace)
        self._passed += len(data)
        return data

    def readline(self, size: int = -1) -> bytes:
        return self.read(size)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(_PIECE):
            yield data
