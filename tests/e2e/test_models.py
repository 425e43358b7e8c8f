"""A model of a bucket on a real machine of the sandbox: on its own disk before the job, for its containers too."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cvl_ci.clouds.aws.object_store import S3Bucket, s3_client
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.commands.models.upload import UploadPorts, UploadRequest, upload
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.model_folder import ModelFolder
from cvl_ci.model.bucket import BucketAddress
from tests.e2e.conftest import Terminal

WEIGHTS = bytes(range(256)) * 40_000
SHOW = """
echo "offline=$HF_HUB_OFFLINE"
sha256sum $HF_HUB_CACHE/models--acme--tiny/snapshots/*/weights.bin
cat $HF_HUB_CACHE/models--acme--tiny/refs/main
docker run --rm debian:bookworm-slim sh -c 'echo "by name: $(sha256sum < $CVL_MODELS/acme/tiny/weights.bin)"'
new=$HF_HUB_CACHE/models--acme--new
blob=$(printf new | sha256sum | cut -d" " -f1)
commit=$(printf c%.0s {1..40})
mkdir -p $new/blobs $new/snapshots/$commit $new/refs
printf new > $new/blobs/$blob
printf $commit > $new/refs/main
ln -s ../../blobs/$blob $new/snapshots/$commit/a.txt
"""


@pytest.mark.minutes(3)
def test_a_model_is_on_the_machine_before_the_job_and_a_new_one_in_the_bucket_after_it(
    terminal: Terminal, tmp_path: Path
) -> None:
    access = terminal.sandbox.access()
    keys = {"AWS_ACCESS_KEY_ID": access.access_key_id, "AWS_SECRET_ACCESS_KEY": access.secret_access_key}
    s3 = s3_client(environ={**keys, "AWS_ENDPOINT_URL": access.endpoint_url})
    s3.create_bucket(Bucket="team-models")
    model_store = ModelStore(S3Bucket(s3, "team-models"), BucketAddress(bucket="team-models", prefix="hub"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.bin").write_bytes(WEIGHTS)
    ports = UploadPorts(
        source=ModelFolder(tmp_path / "model"), model_store=model_store, clock=SystemClock(), tell=lambda _: None
    )
    stored = upload(UploadRequest(repo="acme/tiny"), ports).manifest

    ran = terminal.run(
        "--command", SHOW, "--hf-cache", "s3://team-models/hub", "--models", "acme/tiny", "--gpu", "none"
    )

    assert ran.code == 0, ran.err
    assert "1 models, 0.01 GB, came from the bucket" in ran.out
    assert "offline=1" in ran.out
    assert f"{hashlib.sha256(WEIGHTS).hexdigest()}  " in ran.out
    assert stored.commit in ran.out
    assert f"by name: {hashlib.sha256(WEIGHTS).hexdigest()}" in ran.out
    new = model_store.find("acme/new", "main")
    assert new is not None
    assert list(new.files) == ["a.txt"]
