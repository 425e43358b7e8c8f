"""Faults of the object storage, met by the client that people use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, IncompleteReadError, ResponseStreamingError

from cvl_ci.sandbox.emulator.bucket_gate import BucketGate, CutOff, bucket_of
from cvl_ci.sandbox.faults import BucketFault, Faults

BODY = bytes(range(256)) * 400


class Storage:
    """An object storage with one bucket and one object, and a client that asks once."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from werkzeug.serving import make_server

        from cvl_ci.sandbox.emulator.front import _close_connection, _until_cut

        self.faults = Faults()
        gate, moto = BucketGate(lambda: self.faults), DomainDispatcherApplication(create_backend_app)

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            try:
                return _until_cut(gate.answer(environ, start_response, application=moto), environ)
            except CutOff:
                _close_connection(environ)

        self.server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.s3: Any = boto3.session.Session(
            aws_access_key_id="AKIA", aws_secret_access_key="secret", region_name="us-east-1"
        ).client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.server.server_port}",
            # Without checksums of the client's own: the test sees what arrives.
            config=Config(
                retries={"total_max_attempts": 1},
                read_timeout=20,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self.s3.create_bucket(Bucket="models")

    def read(self) -> bytes:
        body: bytes = self.s3.get_object(Bucket="models", Key="k")["Body"].read()
        return body


@pytest.fixture(scope="module")
def one_storage() -> Iterator[Storage]:
    one = Storage()
    yield one
    one.faults = Faults()
    one.s3.delete_object(Bucket="models", Key="k")
    one.s3.delete_bucket(Bucket="models")
    one.server.shutdown()


@pytest.fixture
def storage(one_storage: Storage) -> Storage:
    one_storage.faults = Faults()
    one_storage.s3.put_object(Bucket="models", Key="k", Body=BODY)
    return one_storage


@pytest.mark.parametrize(("kind", "code"), [("unavailable", "SlowDown"), ("denied", "AccessDenied")])
def test_a_refusal_has_the_code_of_s3(storage: Storage, kind: Any, code: str) -> None:
    storage.faults = Faults(buckets=(BucketFault(kind=kind),))
    with pytest.raises(ClientError, match=code):
        storage.read()


def test_a_fault_hits_its_bucket_its_method_and_its_number_of_requests(storage: Storage) -> None:
    storage.faults = Faults(
        buckets=(
            BucketFault(kind="denied", bucket="another"),
            BucketFault(kind="denied", method="PUT"),
            BucketFault(kind="unavailable", bucket="models", method="GET", times=2),
        )
    )
    for _ in range(2):
        with pytest.raises(ClientError, match="SlowDown"):
            storage.read()
    assert storage.read() == BODY
    with pytest.raises(ClientError, match="AccessDenied"):
        storage.s3.put_object(Bucket="models", Key="k", Body=b"other")
    assert storage.read() == BODY


def test_a_download_can_be_cut_and_corrupted(storage: Storage) -> None:
    storage.faults = Faults(buckets=(BucketFault(kind="cut", method="GET", times=1),))
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        storage.read()
    storage.faults = Faults(buckets=(BucketFault(kind="corrupt", method="GET"),))
    assert sum(a != b for a, b in zip(storage.read(), BODY, strict=True)) == 1


def test_a_fault_of_a_key_leaves_the_lists_of_the_bucket_alone(storage: Storage) -> None:
    storage.faults = Faults(buckets=(BucketFault(kind="denied", key="k*"),))
    assert [one["Key"] for one in storage.s3.list_objects_v2(Bucket="models")["Contents"]] == ["k"]
    with pytest.raises(ClientError, match="AccessDenied"):
        storage.read()
    storage.faults = Faults(buckets=(BucketFault(kind="denied", key="other/*"),))
    assert storage.read() == BODY


def test_an_upload_can_be_cut_and_corrupted(storage: Storage) -> None:
    storage.faults = Faults(buckets=(BucketFault(kind="cut", method="PUT", times=1),))
    with pytest.raises(ConnectionClosedError):
        storage.s3.put_object(Bucket="models", Key="k", Body=b"x" * len(BODY))
    assert storage.read() == BODY
    storage.faults = Faults(buckets=(BucketFault(kind="corrupt", method="PUT"),))
    storage.s3.put_object(Bucket="models", Key="k", Body=BODY)
    assert sum(a != b for a, b in zip(storage.read(), BODY, strict=True)) == 1


def test_a_slow_transfer_brings_all_bytes(storage: Storage) -> None:
    storage.faults = Faults(buckets=(BucketFault(kind="slow", method="GET"),))
    assert storage.read() == BODY


@pytest.mark.parametrize(
    ("host", "path", "bucket"),
    [
        ("models.s3.us-east-1.amazonaws.com", "/a/b", "models"),
        ("my.dotted.bucket.s3.amazonaws.com", "/a", "my.dotted.bucket"),
        ("s3.us-east-1.amazonaws.com", "/models/a/b?x=1", "models"),
        ("10.0.0.1:5000", "/models", "models"),
        ("10.0.0.1:5000", "/", ""),
        ("models.s3.us-east-1.amazonaws.com", "http://models.s3.us-east-1.amazonaws.com/a", "models"),
        ("s3.us-east-1.amazonaws.com", "http://s3.us-east-1.amazonaws.com/models/a", "models"),
    ],
)
def test_the_bucket_stands_in_the_host_or_in_the_path(host: str, path: str, bucket: str) -> None:
    assert bucket_of({"HTTP_HOST": host, "RAW_URI": path}) == bucket
