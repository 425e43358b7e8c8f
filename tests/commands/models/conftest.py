"""A hub, a bucket and a model store for the tests of models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.model.bucket import BucketAddress
from tests.support import s3
from tests.support.hub import Hub


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    with s3.moto() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str) -> S3Bucket:
    s3.empty(endpoint)
    return S3Bucket(s3.client(endpoint), s3.BUCKET)


@pytest.fixture
def model_store(bucket: S3Bucket) -> ModelStore:
    return ModelStore(bucket, BucketAddress(bucket=s3.BUCKET, prefix="hub"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.close()
