"""A bucket whose bytes dribble: every phase that reads it has an end, and the job goes on or the command says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.clouds.aws import object_store
from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.engine.task import model_cache
from cvl_ci.errors import StorageError
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.model_plan import ModelName, ModelPlan
from cvl_ci.model.plan import RunPlan
from cvl_ci.sandbox.faults import BucketFault, Faults
from tests import golden
from tests.sandbox.test_bucket_gate import Storage
from tests.support import s3

MESSAGES = golden.Messages(__name__)

COMMIT, NAME = "c" * 40, "acme/tiny"
DRIBBLE = Faults(buckets=(BucketFault(kind="slow", method="GET", key="*", bytes_per_second=50),))
LONG = bytes(100_000)


@pytest.fixture
def storage() -> Iterator[Storage]:
    one = Storage()
    one.s3.put_object(Bucket="models", Key="hub/long.bin", Body=LONG)
    yield one
    one.faults = Faults()
    for entry in one.s3.list_objects_v2(Bucket="models")["Contents"]:
        one.s3.delete_object(Bucket="models", Key=entry["Key"])
    one.s3.delete_bucket(Bucket="models")
    one.server.shutdown()


def endpoint_of(storage: Storage) -> str:
    return f"http://127.0.0.1:{storage.server.server_port}"


def model_store_of(storage: Storage) -> ModelStore:
    bucket = S3Bucket(s3.client(endpoint_of(storage)), "models")
    return ModelStore(bucket, BucketAddress(bucket="models", prefix="hub"))


def test_bytes_that_come_in_time_are_all_read(storage: Storage) -> None:
    storage.faults = Faults(buckets=(BucketFault(kind="slow", method="GET", key="*"),))
    model_store = model_store_of(storage)
    stored = model_store.store.get("hub/long.bin")
    assert stored is not None
    assert stored[0] == LONG
    with model_store.store.stream("hub/long.bin") as pieces:
        assert b"".join(pieces) == LONG


def test_a_dribbling_manifest_has_an_end(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes long before the time-out of the socket, so only a bound of the whole body ends this."""
    monkeypatch.setattr(object_store, "SMALL_SECONDS", 0.5)
    model_store = model_store_of(storage)
    key = model_store.key(NAME, "manifests", f"{COMMIT}.json")
    storage.s3.put_object(Bucket="models", Key=key, Body=b" " * 100_000)
    storage.faults = DRIBBLE
    with pytest.raises(StorageError, match=r"did not arrive in 0.5 s") as caught:
        model_store.manifest(NAME, COMMIT)
    assert "models" in caught.value.what
    assert caught.value.next_step


def test_a_dribbling_file_is_no_answer(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "SLOW_SECONDS", 0.5)
    storage.faults = DRIBBLE
    with (
        pytest.raises(StorageError, match="fewer than 10 kB a second arrive"),
        model_store_of(storage).store.stream("hub/long.bin") as pieces,
    ):
        b"".join(pieces)


def test_a_machine_does_not_wait_for_a_dribbling_model(storage: Storage, tmp_path: Path) -> None:
    """Of 100,000 bytes, 50 come a second. The phase ends at its limit, and the job begins without its model."""
    model_store = model_store_of(storage)
    entry = {"size": len(LONG), "sha256": "0" * 64, "blob": "0" * 64}
    document = {"repo": NAME, "commit": COMMIT, "has_all": True, "files": {"model.bin": entry}}
    manifest = model_store.key(NAME, "manifests", f"{COMMIT}.json")
    storage.s3.put_object(Bucket="models", Key=manifest, Body=json.dumps(document).encode())
    storage.s3.put_object(Bucket="models", Key=model_store.key(NAME, "refs", "main"), Body=COMMIT.encode())
    storage.s3.put_object(Bucket="models", Key=model_store.file_key(NAME, COMMIT, "model.bin"), Body=LONG)
    storage.faults = Faults(buckets=(BucketFault(kind="slow", method="GET", key="*.bin", bytes_per_second=50),))
    cache = ModelPlan(cache=BucketAddress(bucket="models", prefix="hub"), names=(ModelName(repo=NAME),))
    plan = RunPlan(title="tiny", models=cache)
    shell = (
        f"cvl_ci_seconds_left() {{ echo 20; }}\ncvl_ci_state={tmp_path}/state cvl_ci_python={sys.executable}\n"
        f'mkdir -p {tmp_path}/state\n{model_cache.before(plan)}\necho "the job began, ${{HF_HUB_OFFLINE:-online}}"'
    )
    done = subprocess.run(
        ["bash", "-c", shell],
        env={
            **os.environ,
            **s3.s3_environment(endpoint_of(storage)),
            **model_cache.environment(plan, staged=tmp_path),
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    MESSAGES.check("out of time", done.stdout.splitlines()[-2:])
    hub = tmp_path / ".cache/huggingface/hub"
    assert not (hub / "by-name").exists()
    assert not list(hub.rglob("snapshots"))
