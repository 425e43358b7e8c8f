"""What a person writes for a mount, and what is wrong with it."""

from __future__ import annotations

import pytest

from cvl_ci.inputs.mounts import read
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import from_values
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.mount import Mount, MountMode

CACHED = MountMode.CACHED


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data=s3://bucket/a/b", Mount(target="/data", source="s3://bucket/a/b")),
        ("/data/=s3://bucket:cached", Mount(target="/data", source="s3://bucket", mode=MountMode.CACHED)),
        ("/d = gs://bucket/x:stream", Mount(target="/d", source="gs://bucket/x", mode=MountMode.STREAM)),
        ("/d=hf://org/repo@main", Mount(target="/d", source="hf://org/repo@main")),
        ("/d=hf://datasets/org/pairs/a:cached", Mount(target="/d", source="hf://datasets/org/pairs/a", mode=CACHED)),
        ("/d=hf://buckets/org/own/p", Mount(target="/d", source="hf://buckets/org/own/p")),
        ("/d=./folder/", Mount(target="/d", source="./folder")),
        ("/d=s3:cached", Mount(target="/d", source="s3", mode=CACHED)),
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
        ("/d=ftp://bucket", "is not s3://"),
        ("/d=s3://", "names no bucket"),
        ("/d=s3://Bucket", "has no valid name of a bucket"),
        ("/d=hf://gpt2", "is not hf://OWNER/NAME"),
        ("/d=hf://datasets/squad", "is not hf://OWNER/NAME"),
        ("/d=hf://buckets/own", "is not hf://OWNER/NAME"),
        ("/d=hf://org/na me", "is not hf://OWNER/NAME"),
        ("/d=S3://bucket", "is not s3://"),
        ("/d=s3:/bucket/a", "has no `//` after s3:"),
        ("/=s3://bucket", "needs an absolute path"),
        ("/a/./b=s3://bucket", "needs an absolute path"),
        ("/a//b=s3://bucket", "needs an absolute path"),
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


def test_all_mistakes_are_named_at_once_each_with_its_line() -> None:
    inputs = from_values(
        {"mounts": ["/a=s4://b", "/ok=s3://bucket", "b=s3://bucket", "/c=s3:/bucket", "/ok/d=s3://bucket"]},
        unknown=[],
        environment={},
    )
    assert [(mistake.field, mistake.value, mistake.near) for mistake in inputs.mistakes] == [
        ("--mounts", "/a=s4://b", ()),
        ("--mounts", "b=s3://bucket", ()),
        ("--mounts", "/c=s3:/bucket", ("/c=s3://bucket",)),
        ("--mounts", "/ok/d", ()),
    ]
