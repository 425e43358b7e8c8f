"""On the machine, before the job: bring models from the bucket to its own disk.

`python -I models_restore.py STATE`, with CVL_CI_MODELS in the environment. It prints lines for the job's log. A failure
is a line too: the job then asks the hub by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cvl_ci.engine.machine.model_bucket import (
    COMMIT,
    REPO,
    Absent,
    Cache,
    checksums,
    folder,
    run,
    say,
    valid_files,
)

AT_ONCE = 8
RESERVE_BYTES = 5 << 30
BY_NAME = "by-name"
"""The folder below the cache in which each named model has its name."""


def restore(cache: Cache) -> None:
    """Bring the named models, and those of this work's last run. The hub is off if all of them are whole here."""
    start = time.monotonic()
    learned, is_exact = _learned(cache)
    repos = {repo for repo, _ in cache.names}
    models: list[tuple[str, str, list[str]]] = [(repo, revision, []) for repo, revision in cache.names]
    models += [one for one in learned if one[0] not in repos]
    restored: list[list[str]] = []
    length, problems = 0, list[str]()
    for repo, revision, refs in models:
        try:
            manifest = _manifest(cache, repo, revision)
            length += _restored(cache, manifest, refs)
            restored.append([repo, manifest["commit"]])
            if repo in repos:
                _name(cache, repo, revision, manifest["commit"])
            if repo in repos and not (manifest["has_all"] or manifest["is_chosen"]):
                problems.append(f"{repo} is not whole in the bucket")
        except Absent:
            problems.append(f"{repo} is not in the bucket")
        except Exception as error:  # noqa: BLE001  the job may still succeed with the hub
            problems.append(f"{repo}: {type(error).__name__}: {str(error)[:200]}")
    is_offline = bool(models) and not problems and (bool(repos) or is_exact)
    with open(os.path.join(cache.state, "models.json"), "w", encoding="utf-8") as file:
        json.dump({"restored": restored, "is_offline": is_offline}, file)
    if is_offline:
        with open(os.path.join(cache.state, "models-offline"), "w", encoding="utf-8"):
            pass
    for problem in problems:
        say(f"{problem}. The job may ask the hub for it.")
    if restored:
        hub = "The hub is not asked." if is_offline else "The hub answers for other models."
        seconds = time.monotonic() - start
        say(f"{len(restored)} models, {length / 1e9:.2f} GB, came from the bucket in {seconds:.0f} s. {hub}")


def _learned(cache: Cache) -> tuple[list[tuple[str, str, list[str]]], bool]:
    """Return the models of this work's last run, and whether that was exactly this work."""
    try:
        record = cache.get_json("uses", f"{cache.work}.json")
        models = [(str(repo), str(commit), [str(ref) for ref in refs]) for repo, commit, refs in record["models"]]
    except Absent:
        return [], False
    except (ValueError, KeyError, TypeError):
        return [], False
    valid = [one for one in models if REPO.fullmatch(one[0]) and COMMIT.fullmatch(one[1])]
    return valid, bool(cache.exact) and record.get("exact") == cache.exact


def _manifest(cache: Cache, repo: str, revision: str) -> dict[str, Any]:
    """Return the manifest that a revision names, with `ref`. Raise Absent, or ValueError for a wrong one."""
    commit = revision
    if not COMMIT.fullmatch(revision):
        commit = cache.get(folder(repo), "refs", revision).decode("ascii", "replace").strip()
    if not COMMIT.fullmatch(commit):
        raise ValueError("its commit is not valid")
    manifest = cache.get_json(folder(repo), "manifests", f"{commit}.json")
    files = valid_files(manifest, repo, commit)
    flags = {name: manifest.get(name) is True for name in ("has_all", "is_chosen")}
    return {"repo": repo, "commit": commit, "files": files, **flags, "ref": revision if revision != commit else ""}


def _restored(cache: Cache, manifest: dict[str, Any], refs: list[str]) -> int:
    """Write the files of a model below the cache, and return their bytes. Nothing half-written gets its name."""
    root = os.path.join(cache.hub, folder(manifest["repo"]))
    snapshot = os.path.join(root, "snapshots", manifest["commit"])
    blobs = {entry["blob"]: (path, entry) for path, entry in manifest["files"].items()}
    os.makedirs(os.path.join(root, "blobs"), exist_ok=True)
    missing = {
        blob: pair
        for blob, pair in blobs.items()
        if not (os.path.isfile(at := os.path.join(root, "blobs", blob)) and os.path.getsize(at) == pair[1]["size"])
    }
    length = sum(entry["size"] for _, entry in missing.values())
    if length > shutil.disk_usage(cache.hub).free - RESERVE_BYTES:
        raise OSError(f"the disk has no room for {length / 1e9:.1f} GB and a reserve: raise disk_size")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda path: _blob(cache, manifest, path), [path for path, _ in missing.values()]):
            pass
    for path, entry in manifest["files"].items():
        link = os.path.join(snapshot, path)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        target = os.path.relpath(os.path.join(root, "blobs", entry["blob"]), os.path.dirname(link))
        if os.path.isdir(link):
            raise ValueError(f"its manifest is not valid: {path[:100]!r} is a file and a folder")
        if not os.path.lexists(link):
            os.symlink(target, link)
    for ref in {manifest["ref"], *refs} - {""}:
        if any(part in {"", ".", ".."} for part in ref.split("/")):
            raise ValueError("a name of its commit is not valid")
        at = os.path.join(root, "refs", ref)
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "w", encoding="ascii") as file:
            file.write(manifest["commit"])
    return int(length)


def _name(cache: Cache, repo: str, revision: str, commit: str) -> None:
    """Let a program open a named model as a folder, `by-name/OWNER/NAME`, without the hub's library.

    The links are relative, so a container that mounts the cache at another path can follow them.
    """
    for name in (repo, f"{repo}@{revision.replace('/', '--')}"):
        link = os.path.join(cache.hub, BY_NAME, name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        snapshot = os.path.join(cache.hub, folder(repo), "snapshots", commit)
        os.symlink(os.path.relpath(snapshot, os.path.dirname(link)), f"{link}.new")
        os.replace(f"{link}.new", link)


def _blob(cache: Cache, manifest: dict[str, Any], path: str) -> None:
    """Download one file, and no more bytes than its manifest says. Raise ValueError for other bytes."""
    from botocore.exceptions import ClientError

    entry = manifest["files"][path]
    at = os.path.join(cache.hub, folder(manifest["repo"]), "blobs", entry["blob"])
    key = cache.key(folder(manifest["repo"]), "snapshots", manifest["commit"], path)
    partial = f"{at}.cvl-ci-partial"
    try:
        cache.client.download_file(cache.bucket, key, partial, Callback=_Bound(path, entry["size"]).count)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
            raise ValueError(f"{path} is in its manifest, and not in the bucket") from None
        raise
    sha256, git = checksums(partial, size := os.path.getsize(partial))
    if (size, sha256) != (entry["size"], entry["sha256"]) or entry["blob"] not in {sha256, git}:
        os.unlink(partial)
        raise ValueError(f"{path} in the bucket has other bytes than its manifest says")
    os.replace(partial, at)


class _Bound:
    """The end of a download that brings more bytes than announced: the rest could fill the disk."""

    def __init__(self, path: str, size: int) -> None:
        self._path, self._left = path, size

    def count(self, length: int) -> None:
        """Count bytes that arrived; boto3 takes those of a failed try back. Raise ValueError for too many."""
        self._left -= length
        if self._left < 0:
            raise ValueError(f"{self._path} in the bucket is longer than its manifest says")


if __name__ == "__main__":
    run(restore, sys.argv[1])
