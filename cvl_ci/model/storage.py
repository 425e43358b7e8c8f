"""Object storage as plain values: buckets that a run makes, and their price."""

from __future__ import annotations

from dataclasses import dataclass

S3 = "s3"
"""The one store in which a run may make buckets: cvl-ci can prove their end there."""

GIB_MONTH_USD = 0.023
"""S3 Standard in us-east-1, the first 50 TB, for each GiB and month."""

PRICE_SOURCE = "https://aws.amazon.com/s3/pricing/ (S3 Standard, us-east-1, 2026-11)"


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket that a run makes. `stays`: the run leaves it behind on purpose (`persistent: true`)."""

    name: str
    region: str = ""
    store: str = S3
    stays: bool = False

    def __str__(self) -> str:
        return f"{self.store}://{self.name}"


@dataclass(frozen=True, kw_only=True)
class StoredBytes:
    """The content of a bucket. `is_complete` False: the listing was too long, and there is more."""

    files: int
    bytes: int
    is_complete: bool = True


@dataclass(frozen=True, kw_only=True)
class KeptBucket:
    """A bucket that a run made, with its last known content, for the price. `content` None: the provider listed none.

    `since`: the moment from which it may have existed, in epoch seconds.
    """

    bucket: Bucket
    content: StoredBytes | None = None
    since: float = 0.0

    @property
    def gib(self) -> float | None:
        """Return the size; None if the provider did not list all of it."""
        known_content = self.content if self.content is not None and self.content.is_complete else None
        return known_content.bytes / (1 << 30) if known_content else None

    @property
    def monthly_usd(self) -> float | None:
        """Return the price of the listed content for a month: the least, where the listing is not complete."""
        return None if self.content is None else monthly_usd(self.content.bytes)


def monthly_usd(size: int) -> float:
    """Return the price of so many bytes for a month, in S3 Standard."""
    return size / (1 << 30) * GIB_MONTH_USD
