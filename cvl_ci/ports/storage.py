"""The provider's own answer about the buckets that a run makes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from cvl_ci.errors import CvlError
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import KeptCheckpoints, StoredCheckpoints
from cvl_ci.model.resource import Resource
from cvl_ci.model.storage import Bucket, KeptBucket, StoredBytes
from cvl_ci.ports.inventory import InventoryResult
from cvl_ci.ports.leases import LeaseRecord


class BucketContents(Protocol):
    """The contents of buckets, also of stores in which a run makes none."""

    def content(self, address: BucketAddress, *, seconds: float) -> StoredBytes | None:
        """Return the files below an address; None where the bucket does not exist. Raises EngineError for no answer."""


OpenHub = Callable[[str], BucketContents]
"""Opens the repositories of the model hub, as machines see them that have this token; empty: none."""


class Storage(BucketContents, Protocol):
    """Object storage, asked by the names of buckets. A bucket without the lease's label is never touched."""

    def find(self, buckets: Sequence[Bucket], *, lease: str) -> InventoryResult:
        """Return the buckets that exist. The answer's checks do not list a bucket that stays as left."""

    def labelled_buckets(self, *, lease: str) -> tuple[Sequence[Bucket], InventoryResult]:
        """Return the buckets with the label of a lease whose record is lost, in all regions.

        The result holds no resource. It says which scopes gave no answer, or that nothing can give one here.
        """

    def size(self, bucket: Bucket) -> StoredBytes:
        """Return the content of a bucket. Raises EngineError without an answer."""

    def checkpoints(self, place: BucketAddress) -> StoredCheckpoints:
        """Return the checkpoints in a run's folder. Raises EngineError without an answer."""

    def end_uploads(self, place: BucketAddress) -> None:
        """End the unfinished uploads of a run whose machines are gone. Raises EngineError for a refusal."""

    def remove(self, resources: Sequence[Resource]) -> None:
        """Empty and remove buckets. Absence is a success. Raises EngineError for a refusal."""

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """Add labels to buckets. Raises EngineError for a refusal."""


def kept_buckets(
    storage: Storage | None, record: LeaseRecord, resources: Sequence[Resource], *, say: Callable[[str], None]
) -> tuple[KeptBucket, ...]:
    """Return the buckets that stay, with their sizes. A missing size delays nothing."""
    staying = [bucket for bucket in record.buckets if any(one.stays and one.id == bucket.name for one in resources)]
    return tuple(sized(storage, bucket, since=record.taken_at, say=say) for bucket in staying)


def ending_buckets(
    storage: Storage,
    record: LeaseRecord,
    resources: Sequence[Resource],
    *,
    sized_before: Collection[str],
    say: Callable[[str], None],
) -> dict[str, KeptBucket]:
    """Return the buckets that are about to be removed, by name. Each is sized once: its storage has a price."""
    ids = {resource.id for resource in resources if resource.is_leftover}
    buckets = [bucket for bucket in record.buckets if bucket.name in ids and bucket.name not in sized_before]
    return {bucket.name: sized(storage, bucket, since=record.taken_at, say=say) for bucket in buckets}


def sized(storage: Storage | None, bucket: Bucket, *, since: float, say: Callable[[str], None]) -> KeptBucket:
    """Return a bucket with its content, as far as the provider lists it."""
    try:
        return KeptBucket(bucket=bucket, content=storage.size(bucket) if storage else None, since=since)
    except CvlError as error:
        say(f"The size of {bucket} is not known: {error.what}")
        return KeptBucket(bucket=bucket, since=since)


def kept_checkpoints(
    storage: Storage | None, place: BucketAddress | None, *, is_over: bool, say: Callable[[str], None]
) -> KeptCheckpoints | None:
    """Return the checkpoints that stay, with their size. `is_over`: no machine can still upload there.

    A missing answer delays nothing. It is never the answer that there is none.
    """
    if place is None:
        return None
    stored = None
    try:
        if storage is not None and is_over:
            storage.end_uploads(place)
    except CvlError as error:
        say(f"Unfinished uploads may remain in {place}, where S3 bills them: {error.what}")
    try:
        stored = storage.checkpoints(place) if storage is not None else None
    except CvlError as error:
        say(f"The checkpoints in {place} stay, and their size is not known: {error.what}")
    return KeptCheckpoints(place=place, stored=stored)
