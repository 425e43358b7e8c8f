"""Object storage as plain values: buckets that a run makes, and their price."""

from __future__ import annotations

from dataclasses import dataclass

S3 = "s3"
"""The one store in which a run may make buckets: cvl-ci can prove their end there."""

GIB_MONTH_USD = 0.023
"""S3 Standard in us-east-1, the first 50 TB, for each GiB and month: https://aws.amazon.com/s3/pricing/ (2026-11)."""


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
    """A bucket that a run made and that stays. `content` None: the provider did not list it."""

    bucket: Bucket
    content: StoredBytes | None = None

    @property
    def monthly_usd(self) -> float | None:
        return None if self.content is None else monthly_usd(self.content.bytes)


def monthly_usd(size: int) -> float:
    """Return the price of so many bytes for a month, in S3 Standard."""
    return size / (1 << 30) * GIB_MONTH_USD
