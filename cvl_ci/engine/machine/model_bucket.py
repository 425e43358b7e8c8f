"""On the machine: the bucket of models, and the Hugging Face cache on its own disk.

It needs boto3, which SkyPilot's runtime has on AWS. It runs without the rest of cvl-ci.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

PIECE = 1 << 20
MOST_MANIFEST = 64 << 20
MOST_FILES = 100_000
MOST_PATH = 900
MOST_BYTES = 50 << 40
"""S3 takes no greater object: S3 User Guide, "Uploading objects"."""
COMMIT = re.compile(r"[0-9a-f]{40}")
REPO = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class Absent(Exception):
    """The bucket has no such object."""


class Cache:
    """The models of the bucket, and the Hugging Face cache on this disk."""

    def __init__(self, request: dict[str, Any], *, state: str, client: Any) -> None:
        self.bucket, self.prefix = request["bucket"], request["prefix"]
        self.names, self.work, self.exact = request["names"], request["work"], request["exact"]
        self.state, self.client = state, client
        self.hub = os.environ["HF_HUB_CACHE"]

    def key(self, *parts: str) -> str:
        return "/".join(part for part in (self.prefix, *parts) if part)

    def get(self, *parts: str) -> bytes:
        """Return a small object. Raise Absent."""
        from botocore.exceptions import ClientError

        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key(*parts))
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                raise Absent(parts) from None
            raise
        content: bytes = answer["Body"].read(MOST_MANIFEST + 1)
        if len(content) > MOST_MANIFEST:
            raise ValueError("an object of the model cache is too long")
        return content

    def get_json(self, *parts: str) -> dict[str, Any]:
        return dict(json.loads(self.get(*parts)))

    def put(self, content: bytes, *parts: str, **condition: str) -> bool:
        """Store a small object. Return False if the condition does not hold."""
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=self.key(*parts), Body=content, **condition)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in {404, 409, 412}:
                return False
            raise
        return True


def valid_files(manifest: dict[str, Any], repo: str, commit: str) -> dict[str, dict[str, Any]]:
    """Return the files of a manifest. Raise ValueError for a form that no upload writes: its writer may be hostile."""
    files = manifest.get("files")
    if manifest.get("repo") != repo or manifest.get("commit") != commit or not isinstance(files, dict):
        raise ValueError("its manifest is not valid: it is of another model")
    if len(files) > MOST_FILES:
        raise ValueError(f"its manifest is not valid: it has more than {MOST_FILES} files")
    described: dict[str, tuple[int, str]] = {}
    for path, entry in files.items():
        if not _is_valid(path, entry):
            raise ValueError(f"its manifest is not valid at {path[:100]!r}")
        description = (entry["size"], entry["sha256"])
        if described.setdefault(entry["blob"], description) != description:
            raise ValueError(f"its manifest is not valid: {path[:100]!r} and another file share one name of content")
    return files


def _is_valid(path: str, entry: Any) -> bool:
    if not isinstance(entry, dict) or not path.isprintable() or "\\" in path or len(path.encode()) > MOST_PATH:
        return False
    size, sha256, blob = entry.get("size"), entry.get("sha256"), entry.get("blob")
    if type(size) is not int or not 0 <= size <= MOST_BYTES or not isinstance(sha256, str) or not isinstance(blob, str):
        return False
    is_named = blob == sha256 or re.fullmatch(r"[0-9a-f]{40}", blob)
    is_inside = all(part not in {"", ".", ".."} for part in path.split("/"))
    return bool(is_named and is_inside and re.fullmatch(r"[0-9a-f]{64}", sha256))


def folder(repo: str) -> str:
    return "--".join(["models", *repo.split("/")])


def checksums(path: str, size: int) -> tuple[str, str]:
    """Return the SHA-256 of a file, and git's id of its content: a blob of the cache has one of them as its name."""
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)  # noqa: S324  git's own id, against no attacker
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            sha256.update(piece)
            git.update(piece)
    return sha256.hexdigest(), git.hexdigest()


def say(text: str) -> None:
    """Print a line of the job's log."""
    print(f"cvl-ci: {text}", flush=True)  # noqa: T201  its output is the log


def end_transfers(_signal: int, _frame: object) -> None:
    """Stop as a person's Ctrl-C does: boto3 then cancels its transfers and ends their unfinished uploads.

    Source: s3transfer 0.14, futures.py (TransferFuture.result) and manager.py (TransferManager.__exit__).
    """
    raise KeyboardInterrupt


def run(do: Callable[[Cache], None], state: str) -> None:
    """Do this with the cache that the environment names. A failure is a line of the job's log."""
    signal.signal(signal.SIGTERM, end_transfers)
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        say("the model cache needs boto3, which SkyPilot installs on AWS machines. The job asks the hub.")
        return
    try:
        config = Config(retries={"mode": "standard", "max_attempts": 6}, connect_timeout=10, read_timeout=60)
        client = boto3.client("s3", region_name=os.environ.get("AWS_REGION") or "us-east-1", config=config)
        cache = Cache(json.loads(os.environ["CVL_CI_MODELS"]), state=state, client=client)
        os.makedirs(cache.hub, exist_ok=True)
        do(cache)
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say("the model cache was stopped. It left no unfinished upload, and the models that it stored before stay.")
        sys.exit(124)
    except Exception as error:  # noqa: BLE001  the cache alone has failed, and the job does not depend on it
        say(f"the model cache gave no answer, so the job asks the hub: {type(error).__name__}: {str(error)[:300]}")
