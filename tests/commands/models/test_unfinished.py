"""Unfinished uploads of others, and the bucket's own settings: cvl-ci adopts and changes none of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.commands.models.sending import Sending
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.model_plan import ModelPlan
from cvl_ci.model.snapshot import ModelFile
from cvl_ci.wiring import models

KEY = "hub/model"


class Listing:
    """A client of S3 that lists one unfinished upload of this algorithm, and remembers what begins and ends."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm, self.calls = algorithm, list[str]()

    def list_multipart_uploads(self, **_: Any) -> dict[str, Any]:
        upload = {"Key": KEY, "UploadId": "theirs", **({"ChecksumAlgorithm": self.algorithm} if self.algorithm else {})}
        return {"Uploads": [upload], "IsTruncated": False}

    def list_parts(self, **_: Any) -> dict[str, Any]:
        return {"Parts": [{"PartNumber": 1, "Size": 8 << 20, "ETag": "e"}], "IsTruncated": False}

    def create_multipart_upload(self, **_: Any) -> dict[str, Any]:
        self.calls.append("begin")
        return {"UploadId": "ours"}

    def abort_multipart_upload(self, **_: Any) -> None:
        self.calls.append("abort")


@pytest.mark.parametrize(
    ("algorithm", "adopted"), [("SHA256", True), ("", True), ("CRC32", False), ("CRC64NVME", False)]
)
def test_an_upload_is_continued_only_if_its_parts_may_have_our_checksum(algorithm: str, adopted: bool) -> None:
    """The machine's boto3 begins uploads with its own checksum, and S3 refuses parts with another one."""
    client = Listing(algorithm)
    with ThreadPoolExecutor(1) as senders:
        sending = Sending(
            reading=cast("Any", None),
            store=S3Bucket(client, "b-b"),
            senders=senders,
            room=cast("Any", None),
            moved=lambda _: None,
        )
        file = ModelFile(path="model", size=20 << 20, blob="0" * 64, sha256="0" * 64)
        upload, parts = sending._unfinished(file, KEY)
    assert (upload.id, bool(parts)) == (("theirs", True) if adopted else ("ours", False))
    assert client.calls == ([] if adopted else ["begin"]), "an upload of another program is left to the bucket's rule"


class Settings:
    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer, self.sent = answer, dict[str, Any]()

    def get_bucket_lifecycle_configuration(self, **_: Any) -> dict[str, Any]:
        return self.answer

    def put_bucket_lifecycle_configuration(self, **request: Any) -> dict[str, Any]:
        self.sent = request
        return {}


def test_our_rule_keeps_the_bucket_s_least_size_for_transitions() -> None:
    rule = {"ID": "own", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    size = "varies_by_storage_class"
    client = Settings({"Rules": [rule], "TransitionDefaultMinimumObjectSize": size})
    assert S3Bucket(client, "b-b").end_unfinished_uploads("hub/") == ""
    assert client.sent["TransitionDefaultMinimumObjectSize"] == size
    assert client.sent["LifecycleConfiguration"]["Rules"][0] == rule


def test_a_bucket_without_that_setting_gets_none() -> None:
    client = Settings({"Rules": []})
    assert S3Bucket(client, "b-b").end_unfinished_uploads("hub/") == ""
    assert client.sent.keys() == {"Bucket", "LifecycleConfiguration"}


def test_a_run_with_a_cache_and_without_names_sets_the_rule_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine sends with multipart uploads, and a stopped one leaves parts."""
    client, address = Settings({"Rules": []}), BucketAddress(bucket="b-b", prefix="hub")
    monkeypatch.setattr(models, "open_model_store", lambda *_: ModelStore(S3Bucket(client, "b-b"), address))
    models.models_of_run({})(ModelPlan(cache=address), "cvl-1-0badcafe", print)
    [rule] = client.sent["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
