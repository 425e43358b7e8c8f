"""Upload a stream of unknown length as one blob: blocks of 8 MiB, five at once, each sent again alone.

Each part stays in memory only until its block has arrived, so memory is constant. azure-storage-blob would do the same,
but it splits the signed URL, drops unknown parts and writes the rest again. A signature over the original URL would not
survive that. Here the URL stays unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from urllib.parse import quote

from cvl_ci.errors import ArtifactError
from cvl_ci.github.artifacts.http import STILL_THERE, Answer, Http

BLOCK_BYTES = 8 * 1024 * 1024
AT_ONCE = 5
MOST_BLOCKS = 50_000
CONTENT_TYPE = "application/zip"
API_VERSION = "2021-12-02"


class BlockBlob(io.RawIOBase):
    """Written to like a file that knows no way back; `commit` makes the blob of what arrived."""

    def __init__(self, url: str, *, http: Http, block_bytes: int = BLOCK_BYTES, at_once: int = AT_ONCE) -> None:
        super().__init__()
        self._url, self._http, self._block_bytes = url, http, block_bytes
        self._filling = bytearray()
        self._ids: list[str] = []
        self._sent: list[Future[None]] = []
        self._free = threading.BoundedSemaphore(at_once)
        self._stopped = threading.Event()
        self._hash = hashlib.sha256()
        self._pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="artifact-block")
        self.size = 0

    def __enter__(self) -> BlockBlob:  # noqa: PYI034 (Self is of Python 3.11)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        rest = memoryview(data)
        self._hash.update(rest)
        self.size += len(rest)
        while rest:
            room = self._block_bytes - len(self._filling)
            self._filling += rest[:room]
            rest = rest[room:]
            if len(self._filling) == self._block_bytes:
                self._send()
        return len(data)

    def commit(self) -> str:
        """All blocks have arrived and are a blob: its sha256."""
        if self._filling:
            self._send()
        for sent in self._sent:
            sent.result()
        block_names = "".join(f"<Latest>{name}</Latest>" for name in self._ids)
        self._put(
            "comp=blocklist",
            f'<?xml version="1.0" encoding="utf-8"?><BlockList>{block_names}</BlockList>'.encode(),
            what="The list of blocks",
            content_type=CONTENT_TYPE,
        )
        return self._hash.hexdigest()

    def _send(self) -> None:
        """Wait until one of the blocks has arrived. A block that never arrives ends the writing."""
        number = len(self._ids)
        if number >= MOST_BLOCKS:
            raise ArtifactError("An artifact holds at most 390 GiB.", money=STILL_THERE)
        self._free.acquire()
        for arrived in [one for one in self._sent if one.done()]:
            self._sent.remove(arrived)
            arrived.result()
        name = base64.b64encode(f"{number:048d}".encode()).decode()
        self._ids.append(name)
        block, self._filling = self._filling, bytearray()
        self._sent.append(self._pool.submit(self._deliver, name, number, block))

    def _deliver(self, name: str, number: int, block: bytearray) -> None:
        try:
            self._put(f"comp=block&blockid={quote(name, safe='')}", block, what=f"Block {number + 1}")
        except BaseException:
            self._stopped.set()
            raise
        finally:
            self._free.release()

    def _put(self, query: str, body: bytes | bytearray, *, what: str, content_type: str = "") -> None:
        headers = {"x-ms-version": API_VERSION, "Content-Type": "application/octet-stream"}
        if content_type:
            headers |= {"x-ms-blob-content-type": content_type, "Content-Type": "application/xml"}
        answer = self._http.ask(
            "PUT", f"{self._url}&{query}", what=what, headers=headers, body=body, abandoned=self._stopped.is_set
        )
        _accepted(answer, what)


def _accepted(answer: Answer, what: str) -> None:
    if answer.status != 201:
        raise ArtifactError(f"{what} was refused by the storage: answer {answer.status}.", money=STILL_THERE)
