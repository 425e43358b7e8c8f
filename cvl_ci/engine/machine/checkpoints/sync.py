"""Store complete checkpoints so that a kill at any moment leaves a whole one: files, then manifest, then the pruning.

A program for the machine's own Python. Objects of one upload share a key that no other upload has. A manifest names
each object with size and SHA-256, and is written last. So a reader sees a checkpoint whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from .scan import step_of

MANIFESTS, OBJECTS, SHARDS = "manifests/", "objects/", "shards/"
PIECE = 1 << 20
MOST_FILES = 100_000
_TEMPORARY = ".cvl-ci.tmp"
_KEY = re.compile(r"objects/[0-9a-f]{16}/\d{1,6}")


class Store(Protocol):
    """A place for objects. `put` replaces an object whole or not at all. An absent object: None."""

    def put(self, key: str, content: bytes) -> None: ...

    def put_file(self, key: str, path: str) -> None: ...

    def get(self, key: str) -> bytes | None: ...

    def get_file(self, key: str, path: str) -> None: ...

    def keys(self, prefix: str) -> Sequence[str]: ...

    def delete(self, key: str) -> None: ...


class TornCheckpoint(Exception):
    """A checkpoint whose files are not as its manifest names them."""


class Part(NamedTuple):
    """One node's part of a checkpoint. `paths`: its files below `folder`. `at`: epoch seconds of the last look."""

    folder: str
    name: str
    paths: Sequence[str]
    at: float
    rank: int = 0
    nodes: int = 1


def upload(store: Store, part: Part, *, is_same: Callable[[], bool]) -> bool:
    """Store a part. Return whether the checkpoint is now stored whole.

    Where the part changed during the upload (`is_same`), nothing of it stays. With several nodes each stores its own
    files, and the last one writes the manifest.
    """
    name = part.name
    place = f"{OBJECTS}{secrets.token_hex(8)}"
    files = []
    for number, path in enumerate(part.paths):
        source, key = os.path.join(part.folder, path), f"{place}/{number}"
        size, digest = fingerprint(source)
        store.put_file(key, source)
        files.append({"path": path, "key": key, "size": size, "sha256": digest})
    if not is_same():
        for entry in files:
            store.delete(str(entry["key"]))
        return False
    document = {"name": name, "step": step_of(name), "at": part.at, "files": files}
    if part.nodes == 1:
        store.put(_manifest_key(name), _packed(document))
        return True
    store.put(f"{SHARDS}{_encoded(name)}/{part.rank}", _packed(document))
    return commit_shards(store, name=name, nodes=part.nodes)


def commit_shards(store: Store, *, name: str, nodes: int) -> bool:
    """Write the one manifest of a checkpoint of several nodes. Return False while a node has not stored its part."""
    parts = [_read(store, f"{SHARDS}{_encoded(name)}/{rank}") for rank in range(nodes)]
    node_parts = [part for part in parts if part is not None]
    if len(node_parts) < nodes:
        return False
    files = [entry for part in node_parts for entry in part["files"]]
    latest = max(part["at"] for part in node_parts)
    store.put(_manifest_key(name), _packed({"name": name, "step": step_of(name), "at": latest, "files": files}))
    return True


def stored(store: Store) -> list[dict[str, Any]]:
    """Return the readable manifests, the newest first: by time, because a job that starts again counts from less."""
    manifests = [manifest for key in store.keys(MANIFESTS) if (manifest := _read(store, key)) is not None]
    return sorted(manifests, key=lambda one: (one["at"], one["step"], one["name"]), reverse=True)


def prune(store: Store, *, keep: int) -> None:
    """Remove all but the newest checkpoints: the manifest first, so that a kill leaves objects and no torn checkpoint.

    Objects without a manifest stay from earlier kills. They go too, except those of shards that wait for a node.
    """
    for old in stored(store)[max(1, keep) :]:
        store.delete(_manifest_key(old["name"]))
        for key in store.keys(f"{SHARDS}{_encoded(old['name'])}/"):
            store.delete(key)
    named = {entry["key"] for manifest in stored(store) for entry in manifest["files"]}
    waiting = [part for key in store.keys(SHARDS) if (part := _read(store, key)) is not None]
    named |= {entry["key"] for part in waiting for entry in part["files"]}
    for key in store.keys(OBJECTS):
        if key not in named:
            store.delete(key)


def restore(store: Store, *, into: str) -> str:
    """Bring back the newest checkpoint that is whole, and return its name; empty without one.

    Its files lie under a passing name until each has its SHA-256. A torn checkpoint counts for nothing.
    """
    for manifest in stored(store):
        try:
            _fetch(store, manifest, into)
        except TornCheckpoint:
            continue
        return str(manifest["name"])
    return ""


def fingerprint(path: str) -> tuple[int, str]:
    """Return size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _fetch(store: Store, manifest: Mapping[str, Any], into: str) -> None:
    passing: list[str] = []
    try:
        for entry in manifest["files"]:
            target = os.path.join(into, entry["path"])
            os.makedirs(os.path.dirname(target) or into, exist_ok=True)
            passing.append(f"{target}{_TEMPORARY}")
            store.get_file(entry["key"], passing[-1])
            _verify(passing[-1], entry)
    except (OSError, KeyError, TornCheckpoint) as error:
        for path in passing:
            if os.path.exists(path):
                os.unlink(path)
        raise TornCheckpoint(manifest["name"]) from error
    for path in passing:
        os.replace(path, path[: -len(_TEMPORARY)])


def _verify(path: str, entry: Mapping[str, Any]) -> None:
    if fingerprint(path) != (entry["size"], entry["sha256"]):
        raise TornCheckpoint(entry["path"])


def _read(store: Store, key: str) -> dict[str, Any] | None:
    """Return a manifest, or None if it is not one. Each path stays below the folder, each key among the objects."""
    content = store.get(key)
    try:
        document = json.loads(content or b"")
        files = list(_entries(document["files"]))
        name, step, at = str(document["name"]), int(document["step"]), float(document["at"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return {"name": name, "step": step, "at": at, "files": files} if files and _is_inside(name) else None


def _entries(files: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if len(files) > MOST_FILES:
        raise ValueError("too many files")
    for entry in files:
        path, key = str(entry["path"]), str(entry["key"])
        if not _is_inside(path) or not _KEY.fullmatch(key):
            raise ValueError(path)
        yield {"path": path, "key": key, "size": int(entry["size"]), "sha256": str(entry["sha256"])}


def _is_inside(path: str) -> bool:
    return bool(path) and not path.startswith("/") and "\0" not in path and ".." not in path.split("/")


def _packed(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _manifest_key(name: str) -> str:
    return f"{MANIFESTS}{_encoded(name)}"


def _encoded(name: str) -> str:
    """Return a name for a key: one part, of plain characters, and another one for another checkpoint."""
    plain = re.sub(r"[^A-Za-z0-9._=-]", "_", name)[-80:]
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
