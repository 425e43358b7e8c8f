"""Models: the place from which they come, and the bucket that stores them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from cvl_ci.model.snapshot import ModelFile, Snapshot


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object of a bucket. `labels`: its own metadata; a listing does not show it."""

    key: str
    size: int
    version: str
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StoredPart:
    """A part of an unfinished upload. `sha256`: the store's own checksum in base64; empty where it shows none."""

    number: int
    size: int
    version: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class UnfinishedUpload:
    """A multipart upload that no reader sees yet, and that the provider bills.

    `checksum`: the algorithm that its parts must have, such as SHA256 or CRC64NVME; empty where the store names none.
    """

    key: str
    id: str
    checksum: str = ""

    @property
    def takes_our_parts(self) -> bool:
        return self.checksum in {"", "SHA256"}


class ModelSource(Protocol):
    """A hub, or a folder of this computer."""

    def snapshot(self, repo: str, revision: str) -> Snapshot:
        """Return the snapshot that a revision names. Raises CvlError."""

    def read(self, snapshot: Snapshot, file: ModelFile, *, start: int) -> AbstractContextManager[Iterator[bytes]]:
        """Return the bytes of a file from this position on.

        Raises SourceHiccup where a repetition may help, also in mid-file, else CvlError.
        """


class SourceHiccup(Exception):
    """A source that is busy or cut the transfer. `seconds`: the pause that it asks for."""

    def __init__(self, why: str, *, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


class ObjectStore(Protocol):
    """One bucket. Every method raises StorageError when the provider gives no valid answer."""

    def head(self, key: str) -> StoredObject | None: ...

    def get(self, key: str) -> tuple[bytes, str] | None:
        """Return a small object and its version; None where it does not exist."""

    def stream(self, key: str) -> AbstractContextManager[Iterator[bytes]]: ...

    def put(self, key: str, body: bytes, *, labels: Mapping[str, str], replaces: str | None) -> bool:
        """Store a small object. `replaces`: the version that it replaces, "" for none, None for any.

        Return False if the bucket holds another version.
        """

    def objects(self, prefix: str) -> Iterator[StoredObject]: ...

    def delete(self, keys: Collection[str]) -> None: ...

    def uploads(self, prefix: str) -> Iterator[UnfinishedUpload]: ...

    def parts(self, upload: UnfinishedUpload) -> list[StoredPart]:
        """Return the parts that the provider has; none where it does not know the upload."""

    def begin(self, key: str, *, labels: Mapping[str, str]) -> UnfinishedUpload: ...

    def send(self, upload: UnfinishedUpload, number: int, body: BinaryIO, *, sha256: str, size: int) -> StoredPart: ...

    def complete(self, upload: UnfinishedUpload, parts: Collection[StoredPart]) -> bool:
        """Make one object of the parts. Return False if the object exists already, or the upload does not."""

    def abort(self, upload: UnfinishedUpload) -> None: ...

    def end_unfinished_uploads(self, prefix: str) -> str:
        """Let the provider end unfinished uploads below a prefix by itself. Return why not, else an empty text."""
