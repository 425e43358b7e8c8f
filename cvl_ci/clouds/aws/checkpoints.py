"""Read the checkpoints of a run in S3, and end the uploads that its machines left unfinished.

The layout is that of engine/machine/checkpoints/sync.py. Operations after the Amazon S3 API Reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import StoredCheckpoint, StoredCheckpoints
from cvl_ci.model.storage import StoredBytes

MANIFESTS = "manifests/"
MOST_PAGES = 100
"""Pages of 1,000 objects: a larger folder has at least this content."""
MOST_MANIFESTS = 200
LARGEST_MANIFEST = 16 << 20
MOST_UPLOADS = 1000
MOST_NAME = 300


def read(s3: Any, place: BucketAddress, *, is_late: Callable[[], bool]) -> StoredCheckpoints:
    """Return the content of a run's folder. Raise what boto3 raises. `is_late`: whether the time is over."""
    prefix, files, total, is_complete = f"{place.prefix}/", 0, 0, True
    manifests: list[tuple[Any, str]] = []
    for number, page in enumerate(s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix)):
        if number >= MOST_PAGES or is_late():
            is_complete = False
            break
        for entry in page.get("Contents", []):
            files, total = files + 1, total + int(entry["Size"])
            if entry["Key"].startswith(prefix + MANIFESTS):
                manifests.append((entry["LastModified"], entry["Key"]))
    latest = sorted(manifests, reverse=True)[:MOST_MANIFESTS]
    readable = [one for _, key in latest if not is_late() and (one := _checkpoint(s3, place.bucket, key))]
    newest = max(readable, key=lambda one: (one.at, one.step, one.name), default=None)
    return StoredCheckpoints(content=StoredBytes(files=files, bytes=total, is_complete=is_complete), newest=newest)


def end_uploads(s3: Any, place: BucketAddress) -> None:
    """Abort the unfinished uploads of a run, whose machines are gone: S3 bills their parts. Raise what boto3 raises."""
    for upload in _unfinished(s3, place):
        s3.abort_multipart_upload(Bucket=place.bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def _unfinished(s3: Any, place: BucketAddress) -> Iterator[dict[str, str]]:
    answer = s3.list_multipart_uploads(Bucket=place.bucket, Prefix=f"{place.prefix}/", MaxUploads=MOST_UPLOADS)
    yield from answer.get("Uploads", [])


def _checkpoint(s3: Any, bucket: str, key: str) -> StoredCheckpoint | None:
    """Return the checkpoint of a manifest, or None if a machine wrote another text there."""
    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read(LARGEST_MANIFEST)
    try:
        document = json.loads(content)
        # The name begins with the short name of a folder on the machine, `root/` or `work/`.
        name = str(document["name"]).partition("/")[2][:MOST_NAME]
        at, step = float(document["at"]), int(document["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return StoredCheckpoint(name=name, step=step, at=at) if name and math.isfinite(at) else None
