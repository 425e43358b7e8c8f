"""On the machine, after the job: store the models that it downloaded, and record which models the work used.

`python -I models_store.py STATE`, with CVL_CI_MODELS in the environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from cvl_ci.engine.machine.model_bucket import (
    COMMIT,
    MOST_MANIFEST,
    REPO,
    Cache,
    checksums,
    folder,
    run,
    say,
    valid_files,
)


def store(cache: Cache) -> None:
    """Store the snapshots that the job downloaded, and record which models this work used."""
    before = _before(cache)
    succeeded = _exit_code(cache) == "0"
    if not succeeded and before["is_offline"] and not cache.names:
        # It may have failed because the hub was off: the next run asks the hub again.
        cache.client.delete_object(Bucket=cache.bucket, Key=cache.key("uses", f"{cache.work}.json"))
    restored = {tuple(pair) for pair in before["restored"]}
    used, length = sorted(restored), 0
    for repo, commit in sorted(_snapshots(cache.hub) - restored):
        try:
            length += _stored(cache, repo, commit)
            used.append((repo, commit))
        except Exception as error:  # noqa: BLE001  the job is over, and its own end stands
            say(f"{repo} could not be stored in the bucket: {type(error).__name__}: {str(error)[:200]}")
    if length:
        say(f"{length / 1e9:.2f} GB of new models are now in the bucket.")
    if succeeded and used and not before["is_offline"]:
        models = [[repo, commit, sorted(_refs(cache, repo, commit))] for repo, commit in used]
        record = {"models": models, "exact": cache.exact}
        cache.put(json.dumps(record).encode(), "uses", f"{cache.work}.json")


def _before(cache: Cache) -> dict[str, Any]:
    try:
        with open(os.path.join(cache.state, "models.json"), encoding="utf-8") as file:
            before: dict[str, Any] = json.load(file)
            return before
    except (OSError, ValueError):
        return {"restored": [], "is_offline": False}


def _exit_code(cache: Cache) -> str:
    try:
        with open(os.path.join(cache.state, "end"), encoding="utf-8") as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file)["exit_code"]
    except (OSError, ValueError, KeyError):
        return ""


def _snapshots(hub: str) -> set[tuple[str, str]]:
    """Return repository and commit of each snapshot on this disk whose download has ended."""
    snapshots: set[tuple[str, str]] = set()
    for name in sorted(os.listdir(hub)) if os.path.isdir(hub) else []:
        repo = "/".join(name[len("models--") :].split("--"))
        root = os.path.join(hub, name)
        if not name.startswith("models--") or not REPO.fullmatch(repo) or not os.path.isdir(f"{root}/snapshots"):
            continue
        blobs = os.listdir(f"{root}/blobs") if os.path.isdir(f"{root}/blobs") else []
        if not any(blob.endswith(".incomplete") for blob in blobs):
            snapshots |= {(repo, commit) for commit in os.listdir(f"{root}/snapshots") if COMMIT.fullmatch(commit)}
    return snapshots


def _stored(cache: Cache, repo: str, commit: str) -> int:
    """Store one snapshot: its files, then its manifest. Return the bytes. A blob whose name is wrong is not stored."""
    snapshot = os.path.join(cache.hub, folder(repo), "snapshots", commit)
    files: dict[str, Any] = {}
    length = 0
    for path in _paths(snapshot):
        at = os.path.realpath(os.path.join(snapshot, path))
        if not at.startswith(os.path.realpath(os.path.join(cache.hub, folder(repo))) + os.sep):
            raise ValueError(f"{path} leads out of the cache")
        size, blob = os.path.getsize(at), os.path.basename(at)
        sha256, git = checksums(at, size)
        if blob not in {sha256, git}:
            raise ValueError(f"{path} has other bytes than the hub announced")
        files[path] = {"size": size, "sha256": sha256, "blob": blob}
        content = f"sha256:{sha256}" if len(blob) == 64 else f"git:{blob}"
        length += _sent(cache, at, f"{folder(repo)}/snapshots/{commit}/{path}", size=size, content=content)
    if files:
        _record(cache, repo, commit, files)
    return length


def _paths(snapshot: str) -> Iterator[str]:
    for at, _, names in os.walk(snapshot):
        for name in names:
            yield os.path.relpath(os.path.join(at, name), snapshot)


def _sent(cache: Cache, at: str, name: str, *, size: int, content: str) -> int:
    """Send a file that the bucket does not have, and return its bytes."""
    from botocore.exceptions import ClientError

    key = cache.key(name)
    try:
        if cache.client.head_object(Bucket=cache.bucket, Key=key)["ContentLength"] == size:
            return 0
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    cache.client.upload_file(at, cache.bucket, key, ExtraArgs={"Metadata": {"cvl-content": content}})
    if cache.client.head_object(Bucket=cache.bucket, Key=key)["ContentLength"] != size:
        raise ValueError(f"{name} arrived with another size")
    return size


def _record(cache: Cache, repo: str, commit: str, files: dict[str, Any]) -> None:
    """Write the manifest, with the files of the bucket's own one, and the name `main` if the machine knows it."""
    for _ in range(8):
        version, has_all, is_chosen, stored = _current(cache, repo, commit)
        if stored.keys() >= files.keys():
            break
        document = {
            "format": 1,
            "repo": repo,
            "commit": commit,
            "has_all": has_all,
            "is_chosen": is_chosen,
            "uploaded_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": {**stored, **files},
        }
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        name = (folder(repo), "manifests", f"{commit}.json")
        if cache.put(json.dumps(document, indent=1, sort_keys=True).encode(), *name, **condition):
            break
    for ref in _refs(cache, repo, commit):
        cache.put(commit.encode(), folder(repo), "refs", ref)


def _refs(cache: Cache, repo: str, commit: str) -> Iterator[str]:
    """Yield the names that this commit has on this disk."""
    refs = os.path.join(cache.hub, folder(repo), "refs")
    for at, _, names in os.walk(refs):
        for name in names:
            with open(os.path.join(at, name), encoding="utf-8") as file:
                if file.read(64).strip() == commit:
                    yield os.path.relpath(os.path.join(at, name), refs)


def _current(cache: Cache, repo: str, commit: str) -> tuple[str, bool, bool, dict[str, Any]]:
    from botocore.exceptions import ClientError

    try:
        answer = cache.client.get_object(
            Bucket=cache.bucket, Key=cache.key(folder(repo), "manifests", f"{commit}.json")
        )
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return "", False, False, {}
        raise
    try:
        document = dict(json.loads(answer["Body"].read(MOST_MANIFEST)))
        files = valid_files(document, repo, commit)
    except (ValueError, TypeError, RecursionError):
        return answer["ETag"], False, False, {}  # no reader takes it, so this upload replaces it
    return answer["ETag"], document.get("has_all") is True, document.get("is_chosen") is True, files


if __name__ == "__main__":
    run(store, sys.argv[1])
