"""Guard every bucket that SkyPilot makes: the parent records it first, and it is born with the lease's labels.

SkyPilot makes buckets before it requests machines (sky/execution.py:589, sync_storage_mounts), labels none of them, and
removes none of them in the way in which a run launches. Only S3 can prove the end of one, so the makers of buckets
elsewhere refuse. This module is loaded in the worker process only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import botocore.handlers
from sky import exceptions
from sky.adaptors import aws
from sky.data import storage

from cvl_ci.engine.worker.provision_hooks import Fenced
from cvl_ci.model.lease_name import LABEL_LEASE, LABEL_PERSISTENT

Send = Callable[..., None]
OTHER_MAKERS = (
    (storage.GcsStore, "_create_gcs_bucket"),
    (storage.AzureBlobStore, "_create_az_bucket"),
    (storage.AzureBlobStore, "_create_storage_account"),
    (storage.IBMCosStore, "_create_cos_bucket"),
    (storage.OciStore, "_create_oci_bucket"),
    (storage.HuggingFaceStore, "_create_hf_bucket"),
    (storage.CoreWeaveStore, "_create_bucket"),
)
"""SkyPilot's functions that make buckets outside S3."""


_current: list[_Watch] = []
"""The watch of the latest launch of this process. A session of an earlier launch still has its handlers."""


def announce(send: Send, *, task: Mapping[str, Any], fence: Path) -> None:
    """Guard the buckets of the launch that follows in this process.

    `send("making_bucket", ...)` returns when the bucket is on disk. It raises if that fails, and then none is made.
    """
    watch = _Watch(send, task, fence)
    if not _current:
        # Every session that SkyPilot creates includes these handlers, and keeps them for a later launch.
        botocore.handlers.BUILTIN_HANDLERS += [
            ("provide-client-params.s3.CreateBucket", _before_create),
            ("after-call.s3.CreateBucket", _after_create),
        ]
    _current[:] = [watch]
    for store, name in OTHER_MAKERS:
        setattr(store, name, _refuse)
    original = getattr(storage.S3CompatibleStore._create_bucket, "original", storage.S3CompatibleStore._create_bucket)  # noqa: SLF001

    def create_bucket(store: Any, bucket_name: str) -> Any:
        return original(store, bucket_name) if isinstance(store, storage.S3Store) else _refuse(store, bucket_name)

    create_bucket.original = original  # type: ignore[attr-defined]
    storage.S3CompatibleStore._create_bucket = create_bucket  # noqa: SLF001


def _before_create(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    return _current[0].before_create(params)


def _after_create(parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
    _current[0].after_create(parsed, context)


class _Watch:
    def __init__(self, send: Send, task: Mapping[str, Any], fence: Path) -> None:
        self._send, self._fence = send, fence
        labels = (task.get("resources") or {}).get("labels") or {}
        self._labels = {key: str(value) for key, value in labels.items() if key.startswith("cvl-ci-")}
        mounts = (task.get("file_mounts") or {}).values()
        named = [mount for mount in mounts if isinstance(mount, Mapping) and mount.get("name")]
        self._persistent = {str(mount["name"]): mount.get("persistent") is not False for mount in named}

    def before_create(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the request with labels, after the parent has recorded the bucket."""
        if self._fence.exists():
            raise Fenced(f"The lease was revoked ({self._fence}): no bucket may be made any more.")
        configuration = dict(params.get("CreateBucketConfiguration") or {})
        self._send(
            "making_bucket",
            name=params["Bucket"],
            region=configuration.get("LocationConstraint", "us-east-1"),
            stays=self._stays(params["Bucket"]),
        )
        configuration["Tags"] = [{"Key": key, "Value": value} for key, value in self._tags(params["Bucket"]).items()]
        return {**params, "CreateBucketConfiguration": configuration}

    def after_create(self, parsed: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        """Label a bucket whose store ignores the labels of its request."""
        name = str(context.get("input_params", {}).get("Bucket") or "")
        if parsed.get("Error") or not name:
            return
        client = aws.client("s3")
        try:
            tags = client.get_bucket_tagging(Bucket=name)["TagSet"]
        except aws.botocore_exceptions().ClientError:
            tags = []
        if not any(tag["Key"] == LABEL_LEASE for tag in tags):
            own = [{"Key": key, "Value": value} for key, value in self._tags(name).items()]
            client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": own})

    def _stays(self, name: str) -> bool:
        """Return whether the bucket stays. SkyPilot's default is that it does."""
        return self._persistent.get(name, True)

    def _tags(self, name: str) -> dict[str, str]:
        return {**self._labels, **({LABEL_PERSISTENT: "true"} if self._stays(name) else {})}


def _refuse(store: Any, *names: Any, **_: Any) -> NoReturn:
    name = names[0] if names else getattr(store, "name", "")
    raise exceptions.StorageSpecError(
        f"{type(store).__name__} would make the bucket {name}. cvl-ci makes buckets in S3 only, because it cannot "
        "prove the end of one elsewhere. Make the bucket first, and give its address as the source."
    )
