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
_KEY = re.compile(r"objects/\d{1,4}-[0-9a-f]{16}/\d{1,6}")


class Store(Protocol):
    """A place for objects. `put` replaces an object whole or not at all.

    An absent object: `get` returns None, `get_file` raises KeyError. Any other missing answer raises NoAnswer: silence
    proves no absence.
    """

    def put(self, key: str, content: bytes) -> None: ...

    def put_file(self, key: str, path: str) -> None: ...

    def get(self, key: str) -> bytes | None: ...

    def get_file(self, key: str, path: str) -> None: ...

    def keys(self, prefix: str) -> Sequence[str]: ...

    def delete(self, key: str) -> None: ...


class NoAnswer(Exception):
    """The place gave no answer, or refused."""


class NoPlace(NoAnswer):
    """The place does not exist."""


class TornCheckpoint(Exception):
    """A checkpoint whose files are not as its manifest names them."""


class Part(NamedTuple):
    """One node's part of a checkpoint. `paths`: its files below `folder`. `at`: epoch seconds of the last look.

    `generation`: the number of the machines, from 1. Parts of different machines never make one checkpoint.
    `reason`: why it was stored now, such as `notice`.
    """

    folder: str
    name: str
    paths: Sequence[str]
    at: float
    rank: int = 0
    nodes: int = 1
    generation: int = 1
    reason: str = ""


def upload(store: Store, part: Part, *, is_same: Callable[[], bool]) -> bool:
    """Store a part. Return whether the checkpoint is now stored whole.

    Where the part changed during the upload (`is_same`), nothing of it stays. With several nodes each stores its own
    files, and the last one writes the manifest.
    """
    name = part.name
    place = f"{OBJECTS}{part.rank}-{secrets.token_hex(8)}"
    files = []
    for number, path in enumerate(part.paths):
        source, key = os.path.join(part.folder, path), f"{place}/{number}"
        size, digest = fingerprint(source)
        store.put_file(key, source)
        files.append({"path": path, "key": key, "size": size, "sha256": digest, "rank": part.rank})
    if not is_same():
        for entry in files:
            store.delete(str(entry["key"]))
        return False
    document = {"name": name, "step": step_of(name), "at": part.at, "reason": part.reason, "files": files}
    if part.nodes == 1:
        store.put(manifest_key(name), manifest_bytes(document))
        return True
    store.put(f"{_shards(part.generation, name)}{part.rank}", manifest_bytes(document))
    return commit_shards(store, part)


def commit_shards(store: Store, part: Part) -> bool:
    """Write the one manifest of a checkpoint of several nodes. Return False while a node has not stored its part.

    Where several nodes have files, the name needs a step: the parts may be of two moments.
    """
    parts = [_read(store, f"{_shards(part.generation, part.name)}{rank}", may_lack=True) for rank in range(part.nodes)]
    node_parts = [part for part in parts if part is not None]
    with_files = [part for part in node_parts if part["files"]]
    if len(node_parts) < part.nodes or not with_files or (len(with_files) > 1 and step_of(part.name) < 0):
        return False
    files = [entry for part in with_files for entry in part["files"]]
    newest = max(with_files, key=lambda part: part["at"])
    store.put(manifest_key(part.name), manifest_bytes({**newest, "files": files}))
    return True


def declare_absent(store: Store, part: Part) -> None:
    """Store the absence of a checkpoint's files on this node: often the first node alone writes."""
    document = {"name": part.name, "step": step_of(part.name), "at": part.at, "files": []}
    store.put(f"{_shards(part.generation, part.name)}{part.rank}", manifest_bytes(document))
    commit_shards(store, part)


def waiting_parts(store: Store, *, generation: int, rank: int) -> list[dict[str, Any]]:
    """Return the parts of other nodes for which this node has stored neither files nor their absence."""
    keys = list(store.keys(f"{SHARDS}{generation}/"))
    own = {key.rpartition("/")[0] for key in keys if key.endswith(f"/{rank}")}
    missing = {key.rpartition("/")[0]: key for key in keys if key.rpartition("/")[0] not in own}
    parts = [_read(store, key) for key in missing.values()]
    return [part for part in parts if part is not None]


def stored(store: Store) -> list[dict[str, Any]]:
    """Return the readable manifests, the newest first: by time, because a job that starts again counts from less."""
    manifests = [manifest for key in store.keys(MANIFESTS) if (manifest := _read(store, key)) is not None]
    return sorted(manifests, key=lambda one: (one["at"], one["step"], one["name"]), reverse=True)


def prune(store: Store, *, keep: int, rank: int = 0) -> None:
    """Remove all but the newest checkpoints: the manifest first, so that a kill leaves objects and no torn checkpoint.

    Objects without a manifest stay from earlier kills. They go too, except those of shards that wait for a node. Each
    node removes its own objects alone: another one may be in the middle of an upload.
    """
    present = list(store.keys(f"{OBJECTS}{rank}-"))
    for old in stored(store)[max(1, keep) :] if rank == 0 else ():
        store.delete(manifest_key(old["name"]))
        for key in store.keys(SHARDS):
            if key.rpartition("/")[0].endswith(f"/{_encoded(old['name'])}"):
                store.delete(key)
    named = {entry["key"] for manifest in stored(store) for entry in manifest["files"]}
    waiting = [part for key in store.keys(SHARDS) if (part := _read(store, key)) is not None]
    named |= {entry["key"] for part in waiting for entry in part["files"]}
    for key in present:
        if key not in named:
            store.delete(key)


def restore(
    store: Store, *, into: str, rank: int = 0, is_wanted: Callable[[str], bool] = lambda _: True
) -> dict[str, Any] | None:
    """Bring back the newest checkpoint that is whole, and return its manifest; None without one.

    Its files lie under a passing name until each has its SHA-256. A torn checkpoint counts for nothing, nor does one
    with a name that is not wanted, or with files outside of its name. Raise NoAnswer, and OSError for a full disk.
    """
    for manifest in stored(store):
        name = str(manifest["name"])
        paths = [entry["path"] for entry in manifest["files"]]
        if not is_wanted(name) or not all(path == name or path.startswith(f"{name}/") for path in paths):
            continue
        try:
            _fetch(store, manifest, into, rank)
        except TornCheckpoint:
            continue
        return manifest
    return None


def fingerprint(path: str) -> tuple[int, str]:
    """Return size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _fetch(store: Store, manifest: Mapping[str, Any], into: str, rank: int) -> None:
    """Bring the files. Where several nodes wrote one path, a node gets its own file."""
    entries = {
        entry["path"]: entry for entry in sorted(manifest["files"], key=lambda one: (one["rank"] == rank, -one["rank"]))
    }
    passing: list[str] = []
    try:
        for entry in entries.values():
            target = os.path.join(into, entry["path"])
            os.makedirs(os.path.dirname(target) or into, exist_ok=True)
            passing.append(f"{target}{_TEMPORARY}")
            store.get_file(entry["key"], passing[-1])
            _verify(passing[-1], entry)
    except BaseException as error:
        for path in passing:
            if os.path.exists(path):
                os.unlink(path)
        if isinstance(error, KeyError):
            raise TornCheckpoint(manifest["name"]) from error
        raise
    for path in passing:
        os.replace(path, path[: -len(_TEMPORARY)])


def _verify(path: str, entry: Mapping[str, Any]) -> None:
    if fingerprint(path) != (entry["size"], entry["sha256"]):
        raise TornCheckpoint(entry["path"])


def _read(store: Store, key: str, *, may_lack: bool = False) -> dict[str, Any] | None:
    """Return a manifest, or None if it is not one. Each path stays below the folder, each key among the objects.

    `may_lack`: it may have no file, as a part of a node has that wrote none.
    """
    content = store.get(key)
    try:
        document = json.loads(content or b"")
        files = list(_entries(document["files"]))
        name, step, at = str(document["name"]), int(document["step"]), float(document["at"])
        reason = str(document.get("reason", ""))[:20]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError):
        return None
    is_valid = (files or may_lack) and _is_inside(name) and at == at  # noqa: PLR0124  NaN is no moment
    return {"name": name, "step": step, "at": at, "reason": reason, "files": files} if is_valid else None


def _entries(files: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if len(files) > MOST_FILES:
        raise ValueError("too many files")
    for entry in files:
        path, key = str(entry["path"]), str(entry["key"])
        if not _is_inside(path) or not _KEY.fullmatch(key):
            raise ValueError(path)
        size, rank = int(entry["size"]), int(entry["rank"])
        yield {"path": path, "key": key, "size": size, "sha256": str(entry["sha256"]), "rank": rank}


def _is_inside(path: str) -> bool:
    return bool(path) and not path.startswith("/") and "\0" not in path and ".." not in path.split("/")


def manifest_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a manifest as its bytes."""
    return json.dumps(document, sort_keys=True).encode()


def manifest_key(name: str) -> str:
    """Return the key of the manifest of a checkpoint."""
    return f"{MANIFESTS}{_encoded(name)}"


def _shards(generation: int, name: str) -> str:
    return f"{SHARDS}{generation}/{_encoded(name)}/"


def _encoded(name: str) -> str:
    """Return a name for a key: one part, of plain characters, and another one for another checkpoint."""
    plain = re.sub(r"[^A-Za-z0-9._=-]", "_", name)[-80:]
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
