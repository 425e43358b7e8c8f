"""The content of buckets of any store: sums of their lists, and the store that an address belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from cvl_ci.errors import CvlError, EngineError
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.storage import StoredBytes
from cvl_ci.ports.storage import BucketContents

PAGE = 1000
"""The files of one answer, which every store has as its most or takes."""
SIZED_PAGES = 100
"""Pages of 1,000 files that a size may take. A larger bucket has at least this content."""


def stored_bytes(
    pages: Iterable[Mapping[str, int]], address: BucketAddress, *, is_late: Callable[[], bool]
) -> StoredBytes:
    """Return the files of the pages, each of sizes in bytes by key, that are below an address."""
    files = total = 0
    is_over = False
    for number, page in enumerate(pages):
        if number >= SIZED_PAGES or is_over:  # this page shows that there is more
            return StoredBytes(files=files, bytes=total, is_complete=False)
        sizes = [size for key, size in page.items() if address.contains(key)]
        files += len(sizes)
        total += sum(sizes)
        is_over = is_late()
    return StoredBytes(files=files, bytes=total)


class BucketAbsent(Exception):
    """The store's own answer says that the bucket does not exist."""


def content_within(
    seconds: float, pages: Iterable[Mapping[str, int]], address: BucketAddress, *, store: str
) -> StoredBytes | None:
    """Return the content below an address; None for a bucket that does not exist. Raise EngineError.

    `pages`: as in stored_bytes; they raise BucketAbsent. `store`: its name for an error.
    """
    until = monotonic() + seconds
    try:
        return stored_bytes(pages, address, is_late=lambda: monotonic() > until)
    except BucketAbsent:
        return None
    except Exception as error:
        raise EngineError(f"{store} did not list {address}: {error}"[:300]) from error


class EveryStore:
    """The contents of the buckets of every store. A store opens at the first question about it."""

    def __init__(self, stores: Mapping[str, Callable[[], BucketContents]]) -> None:
        """Take the way to open each store, by the scheme of its addresses."""
        self._openers = stores
        self._opened: dict[str, BucketContents] = {}

    def content(self, address: BucketAddress, *, seconds: float) -> StoredBytes | None:
        if address.scheme not in self._openers:
            raise EngineError(f"cvl-ci cannot list {address} here")
        if address.scheme not in self._opened:
            try:
                self._opened[address.scheme] = self._openers[address.scheme]()
            except CvlError:
                raise
            except Exception as error:
                raise EngineError(f"cvl-ci cannot list {address} here: {error}"[:300]) from error
        return self._opened[address.scheme].content(address, seconds=seconds)
