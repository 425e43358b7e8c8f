"""The keys of models below a prefix, and their manifests. A reader trusts a manifest alone.

The layout is that of a Hugging Face cache, `models--OWNER--NAME/snapshots/COMMIT/PATH` and `refs/NAME`. Next to it,
`manifests/COMMIT.json` is written after all files of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cvl_ci.errors import StorageError
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.snapshot import COMMIT, MOST_FILES, Manifest, ModelFile, folder, is_safe_path
from cvl_ci.ports.models import ObjectStore

FORMAT = 1
_TRIES = 8


class ModelStore:
    """The models below one prefix of a bucket."""

    def __init__(self, store: ObjectStore, address: BucketAddress) -> None:
        self.store, self.address = store, address

    def key(self, repo: str, *parts: str) -> str:
        return self.address.below(folder(repo), *parts)

    def file_key(self, repo: str, commit: str, path: str) -> str:
        return self.key(repo, "snapshots", commit, path)

    def prefix(self, repo: str = "", *parts: str) -> str:
        """Return the prefix of all keys below these parts; without a repository, that of all keys of the store."""
        key = self.key(repo, *parts) if repo else self.address.below()
        return f"{key}/" if key else ""

    def manifest(self, repo: str, commit: str) -> Manifest | None:
        """Return the manifest of a snapshot; None where the bucket holds none. Raises StorageError for a wrong one."""
        return self._versioned(repo, commit)[0]

    def ref(self, repo: str, name: str) -> str:
        """Return the commit that a branch or tag named at the last upload; empty without one."""
        stored = self.store.get(self.key(repo, "refs", name))
        commit = stored[0].decode("ascii", "replace").strip() if stored else ""
        return commit if COMMIT.fullmatch(commit) else ""

    def find(self, repo: str, revision: str) -> Manifest | None:
        """Return the manifest that a commit, branch or tag names; None where the bucket holds none."""
        commit = revision if COMMIT.fullmatch(revision) else self.ref(repo, revision)
        return self.manifest(repo, commit) if commit else None

    def record(self, new: Manifest, *, ref: str) -> Manifest:
        """Write a manifest, merged with the stored one, and then the ref that names its commit."""
        key = self.key(new.repo, "manifests", f"{new.commit}.json")
        for _ in range(_TRIES):
            stored, version = self._versioned(new.repo, new.commit)
            merged = _merged(stored, new)
            is_known = stored is not None and merged == replace(stored, uploaded_at=merged.uploaded_at)
            if is_known or self.store.put(key, _text(merged), labels={}, replaces=version):
                break
        else:
            raise StorageError(f"Other uploads changed the manifest of {new.repo} {_TRIES} times.")
        if ref and self.ref(new.repo, ref) != new.commit:
            self.store.put(self.key(new.repo, "refs", ref), new.commit.encode(), labels={}, replaces=None)
        return merged

    def _versioned(self, repo: str, commit: str) -> tuple[Manifest | None, str]:
        stored = self.store.get(self.key(repo, "manifests", f"{commit}.json"))
        if stored is None:
            return None, ""
        try:
            document = json.loads(stored[0])
            return _read(document, repo=repo, commit=commit), stored[1]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise StorageError(
                f"The manifest of {repo} at {commit[:12]} in {self.address} is not valid.",
                next_step=f"Remove the model and upload it again: cvl-ci models remove {repo} --in {self.address}",
            ) from None


def _merged(stored: Manifest | None, new: Manifest) -> Manifest:
    if stored is None:
        return new
    return replace(
        new,
        files={**stored.files, **new.files},
        has_all=new.has_all or stored.has_all,
        is_chosen=new.is_chosen or stored.is_chosen,
    )


def _read(document: Any, *, repo: str, commit: str) -> Manifest:
    if document["format"] != FORMAT or document["repo"] != repo or document["commit"] != commit:
        raise ValueError
    if len(document["files"]) > MOST_FILES:
        raise ValueError
    files = {path: _file(path, entry) for path, entry in document["files"].items()}
    if len({(file.blob, file.size, file.sha256) for file in files.values()}) != len(
        {one.blob for one in files.values()}
    ):
        raise ValueError
    return Manifest(
        repo=repo,
        commit=commit,
        files=files,
        has_all=document["has_all"] is True,
        is_chosen=document.get("is_chosen") is True,
        uploaded_at=str(document["uploaded_at"])[:40],
        of_hub=document.get("of_hub") is not False,
    )


def _file(path: str, entry: Mapping[str, Any]) -> ModelFile:
    size, sha256, blob = entry["size"], entry["sha256"], entry["blob"]
    if not is_safe_path(path) or type(size) is not int or size < 0 or len(sha256) != 64:
        raise ValueError
    if not (set(sha256 + blob) <= set("0123456789abcdef") and len(blob) in {40, 64}):
        raise ValueError
    if len(blob) == len(sha256) and blob != sha256:
        raise ValueError
    return ModelFile(path=path, size=size, blob=blob, sha256=sha256)


def _text(manifest: Manifest) -> bytes:
    files = {
        path: {"size": file.size, "sha256": file.sha256, "blob": file.blob}
        for path, file in sorted(manifest.files.items())
    }
    document = {
        "format": FORMAT,
        "repo": manifest.repo,
        "commit": manifest.commit,
        "has_all": manifest.has_all,
        "is_chosen": manifest.is_chosen,
        "uploaded_at": manifest.uploaded_at,
        "of_hub": manifest.of_hub,
        "files": files,
    }
    return json.dumps(document, indent=1, sort_keys=True).encode()
