"""One file from its source to its key in the bucket: in parts, in constant memory, continued after a kill.

No file of the source is whole on this computer. A part is in memory up to 16 MiB, and else in a temporary file.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import BinaryIO

from cvl_ci.commands.models.content import Content
from cvl_ci.commands.models.reading import Reading
from cvl_ci.errors import HubError, StorageError
from cvl_ci.model.snapshot import ModelFile, Snapshot
from cvl_ci.ports.models import ObjectStore, StoredPart, UnfinishedUpload

PART = 8 << 20
MOST_PARTS = 10_000
"""S3 User Guide, "Amazon S3 multipart upload limits"; so are 5 MiB as the least part."""
MOST_IN_MEMORY = 16 << 20
CONTENT_LABEL = "cvl-content"
"""The object's metadata that names its bytes: an ETag does not, and a store may keep no checksum."""
_ATTEMPTS = 2


def part_size(size: int) -> int:
    """Return the bytes of a part, the same for each upload of a file: parts of an earlier one then fit."""
    return max(PART, -(-size // MOST_PARTS))


@dataclass(frozen=True, kw_only=True)
class Sending:
    """A way from the source to the bucket. `room`: the parts that may exist at once, over all files."""

    reading: Reading
    store: ObjectStore
    senders: Executor
    room: threading.Semaphore
    moved: Callable[[int], None]

    def send(self, snapshot: Snapshot, file: ModelFile, key: str) -> str:
        """Store a file and return its SHA-256. Raises HubError or StorageError for bytes that stay wrong."""
        stored = self.store.head(key)
        if stored is not None:
            content = self._read_back(file, key) if stored.size == file.size else None
            if content is not None and content.is_right:
                return content.sha256
            self.store.delete([key])
        problem: HubError | StorageError = StorageError(f"{key} could not be stored.")
        for _ in range(_ATTEMPTS):
            try:
                return self._sent(snapshot, file, key)
            except _WrongSource:
                problem = HubError(
                    f"The source sent other bytes of {file.path} than it announced, {_ATTEMPTS} times.",
                    next_step="Nothing of it can be read from the bucket. Try again, or report it to the hub.",
                )
            except _WrongObject:
                self.store.delete([key])
                problem = StorageError(
                    f"The bucket returned other bytes of {key} than cvl-ci sent, {_ATTEMPTS} times.",
                    next_step="Nothing of it can be read as a model. Try again, or ask the provider of the bucket.",
                )
        raise problem

    def _sent(self, snapshot: Snapshot, file: ModelFile, key: str) -> str:
        if file.size <= PART:
            return self._sent_whole(snapshot, file, key)
        upload, present = self._unfinished(file, key)
        content = None if present else Content(file)
        parts = self._sent_parts(snapshot, file, upload, present, content)
        if content is not None and not content.is_right:
            self.store.abort(upload)
            raise _WrongSource
        is_ours = self.store.complete(upload, parts.values())
        if not is_ours and self.store.head(key) is None:
            raise _WrongObject
        if content is not None and is_ours and all(one.sha256 for one in parts.values()):
            return content.sha256  # the store itself compared each part with its SHA-256
        read = self._read_back(file, key)
        if not read.is_right:
            raise _WrongObject
        return read.sha256

    def _sent_whole(self, snapshot: Snapshot, file: ModelFile, key: str) -> str:
        content, body = Content(file), bytearray()
        for piece in self.reading.pieces(snapshot, file, start=0, end=file.size):
            content.add(piece)
            body += piece
        if not content.is_right:
            raise _WrongSource
        self.store.put(key, bytes(body), labels=_labels(file), replaces="")
        self.moved(file.size)
        if not self._read_back(file, key).is_right:
            raise _WrongObject
        return content.sha256

    def _sent_parts(
        self,
        snapshot: Snapshot,
        file: ModelFile,
        upload: UnfinishedUpload,
        present: Mapping[int, StoredPart],
        content: Content | None,
    ) -> Mapping[int, StoredPart]:
        """Send the parts that the store does not have. An error leaves the others there, for the next upload."""
        size, sent = part_size(file.size), dict(present)
        pending: list[Future[StoredPart]] = []
        try:
            for first, last in _runs(range(1, -(-file.size // size) + 1), present):
                end = min(last * size, file.size)
                pieces = self.reading.pieces(snapshot, file, start=(first - 1) * size, end=end)
                for number, body, length, digest in self._bodies(pieces, first, size, content):
                    pending.append(self.senders.submit(self._part, upload, number, body, length, digest))
                    _raise_failure(pending)
            sent.update({part.number: part for part in (future.result() for future in pending)})
        finally:
            for future in pending:
                future.exception()  # no part may still be on its way when its upload ends
        return sent

    def _bodies(
        self, pieces: Iterator[bytes], first: int, size: int, content: Content | None
    ) -> Iterator[tuple[int, BinaryIO, int, str]]:
        number, rest = first, b""
        while True:
            self.room.acquire()
            body: BinaryIO = tempfile.SpooledTemporaryFile(max_size=MOST_IN_MEMORY)  # type: ignore[assignment]  # noqa: SIM115
            digest, length, is_handed_over = hashlib.sha256(), 0, False
            try:
                while length < size and (piece := rest or next(pieces, b"")):
                    part, rest = piece[: size - length], piece[size - length :]
                    body.write(part)
                    digest.update(part)
                    length += len(part)
                    if content is not None:
                        content.add(part)
                if not length:
                    return
                body.seek(0)
                is_handed_over = True
                yield number, body, length, base64.b64encode(digest.digest()).decode()
                number += 1
            finally:
                if not is_handed_over:
                    body.close()
                    self.room.release()

    def _part(self, upload: UnfinishedUpload, number: int, body: BinaryIO, length: int, digest: str) -> StoredPart:
        try:
            part = self.store.send(upload, number, body, sha256=digest, size=length)
        finally:
            body.close()
            self.room.release()
        if part.sha256 and part.sha256 != digest:
            raise StorageError(f"The bucket took other bytes of {upload.key}, part {number}, than cvl-ci sent.")
        self.moved(length)
        return part

    def _unfinished(self, file: ModelFile, key: str) -> tuple[UnfinishedUpload, Mapping[int, StoredPart]]:
        """Return the unfinished upload of this key with the most parts, or a new one.

        The key names a commit, so two uploads of it send the same bytes, and may also share one upload.
        """
        size, best = part_size(file.size), None
        for upload in self.store.uploads(key):
            if upload.key != key or not upload.takes_our_parts:
                continue  # another program's upload: the rule of the bucket ends it
            parts = {part.number: part for part in self.store.parts(upload)}
            if any(part.size != min(size, file.size - (part.number - 1) * size) for part in parts.values()):
                self.store.abort(upload)
            elif best is None or len(parts) > len(best[1]):
                best = upload, parts
        return best or (self.store.begin(key, labels=_labels(file)), {})

    def _read_back(self, file: ModelFile, key: str) -> Content:
        with self.store.stream(key) as pieces:
            return Content(file).add_all(pieces)


class _WrongSource(Exception):
    pass


class _WrongObject(Exception):
    pass


def _labels(file: ModelFile) -> dict[str, str]:
    return {CONTENT_LABEL: file.content}


def _runs(numbers: Sequence[int], present: Mapping[int, StoredPart]) -> Iterator[tuple[int, int]]:
    """Yield the first and last number of each gap between the parts that are present."""
    first = None
    for number in numbers:
        if number in present:
            if first is not None:
                yield first, number - 1
            first = None
        elif first is None:
            first = number
    if first is not None:
        yield first, numbers[-1]


def _raise_failure(pending: list[Future[StoredPart]]) -> None:
    for future in pending:
        if future.done():
            future.result()
