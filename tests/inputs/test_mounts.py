"""What a person writes for a mount, and what is wrong with it."""

from __future__ import annotations

import pytest

from cvl_ci.inputs.mounts import read
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.mount import Mount, MountMode


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data=s3://bucket/a/b", Mount(target="/data", source="s3://bucket/a/b")),
        ("/data/=s3://bucket:cached", Mount(target="/data", source="s3://bucket", mode=MountMode.CACHED)),
        ("/d = gs://bucket/x:stream", Mount(target="/d", source="gs://bucket/x", mode=MountMode.STREAM)),
        ("/d=hf://org/repo@main", Mount(target="/d", source="hf://org/repo@main")),
        ("/d=./folder/", Mount(target="/d", source="./folder")),
        ("/d=.:cached", Mount(target="/d", source=".", mode=MountMode.CACHED)),
        (
            "/d=data:cached,via=s3://bucket/p/",
            Mount(target="/d", source="data", mode=MountMode.CACHED, via=BucketAddress(bucket="bucket", prefix="p")),
        ),
    ],
)
def test_a_mount_reads_as_meant(text: str, mount: Mount) -> None:
    assert read(text) == (mount,)
    assert read([text]) == (mount,)
    target, _, source = text.partition("=")
    assert read({target.strip(): source.strip()}) == (mount,)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/data", "is not PATH=SOURCE"),
        ("data=s3://bucket", "needs an absolute path"),
        ("/a/../b=s3://bucket", "needs an absolute path"),
        ("/tmp=s3://bucket", "needs an absolute path"),
        ("/d=ftp://bucket", "is not s3://"),
        ("/d=s3://", "names no bucket"),
        ("/d=s3://Bucket", "has no valid name of a bucket"),
        ("/d=s3://bucket/a:cache", "has a mode other than"),
        ("/d=s3://bucket,via=s3://other", "has via"),
        ("/d=data,via=gs://other", "is not an S3 address"),
        ("/d=s3://one\n/d/e=s3://two", "inside another"),
        ("/d=s3://one\n/d=s3://two", "one path twice"),
    ],
)
def test_a_mistake_is_named(text: str, problem: str) -> None:
    with pytest.raises(Wrong, match=problem):
        read(text)


def test_a_near_mode_is_named() -> None:
    with pytest.raises(Wrong) as wrong:
        read("/d=s3://bucket/a:cache")
    assert "cached" in wrong.value.near
