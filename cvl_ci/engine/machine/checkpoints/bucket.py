"""A prefix of an S3 bucket as the place of checkpoints. A program for the machine's own Python, which has boto3 on AWS.

Operations and error codes after the Amazon S3 API Reference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from .sync import MANIFESTS, NoAnswer, NoPlace

LARGEST_MANIFEST = 64 << 20
MOST_RUNS = 20
"""The earlier runs whose checkpoints are tried, the newest first."""
THREADS = 4
_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
T = TypeVar("T")


class BucketStore:
    """The Store of sync.py: the objects below a prefix."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, f"{prefix}/" if prefix else ""

    def put(self, key: str, content: bytes) -> None:
        self._answer(lambda: self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content))

    def put_file(self, key: str, path: str) -> None:
        from boto3.s3.transfer import TransferConfig

        few = TransferConfig(max_concurrency=THREADS)  # the machine is the job's
        self._answer(lambda: self._client.upload_file(path, self._bucket, self._prefix + key, Config=few))

    def get(self, key: str) -> bytes | None:
        def read() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            content: bytes = answer["Body"].read(LARGEST_MANIFEST)
            return content

        try:
            return self._answer(read)
        except KeyError:
            return None

    def get_file(self, key: str, path: str) -> None:
        self._answer(lambda: self._client.download_file(self._bucket, self._prefix + key, path))

    def keys(self, prefix: str) -> Sequence[str]:
        return [key for key, _ in self._answer(lambda: list(self._entries(prefix)))]

    def delete(self, key: str) -> None:
        self._answer(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key))

    def runs(self) -> list[str]:
        """Return the folders below the prefix that hold manifests, the latest first by S3's own clock."""
        latest: dict[str, Any] = {}
        for key, moment in self._answer(lambda: list(self._entries(""))):
            run, _, rest = key.partition("/")
            if rest.startswith(MANIFESTS):
                latest[run] = max(moment, latest.get(run, moment))
        return sorted(latest, key=lambda run: latest[run], reverse=True)[:MOST_RUNS]

    def _entries(self, prefix: str) -> Iterator[tuple[str, Any]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
            for entry in page.get("Contents", []):
                yield entry["Key"][len(self._prefix) :], entry["LastModified"]

    def _answer(self, ask: Callable[[], T]) -> T:
        """Return the answer. Raise KeyError for an absent object, and NoAnswer for any other failure."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            return ask()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                raise KeyError(code) from None
            if code == "NoSuchBucket":
                raise NoPlace(str(error)) from None
            raise NoAnswer(str(error)) from None
        except (Boto3Error, BotoCoreError, HTTPClientError, ConnectionError, TimeoutError) as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from None


def client() -> Any:
    """Return a client of S3. It repeats a request for some seconds, and waits for no answer long."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=5, read_timeout=30)
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION") or "us-east-1", config=config)
