"""A manifest that somebody changed in the bucket: nothing of it reaches the job, and nothing outside the cache changes.

The node's own shell text meets a real S3 of moto; the job is the hub's real client, which then asks the hub.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.engine.machine import model_bucket, models_restore
from cvl_ci.engine.machine.model_bucket import valid_files
from cvl_ci.errors import StorageError
from cvl_ci.model import snapshot
from tests import golden
from tests.commands.models.test_cache import FILES, LOADED, NAME, Leg
from tests.support import s3
from tests.support.hub import Hub

MESSAGES = golden.Messages(__name__)

COMMIT = "c" * 40
OTHER = hashlib.sha256(b"other").hexdigest()
Change = Callable[[dict[str, Any]], object]


def entry_of(document: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = document["files"]["config.json"]
    return entry


def renamed(path: str) -> Change:
    return lambda document: document["files"].update({path: document["files"].pop("config.json")})


def with_value(name: str, value: object) -> Change:
    return lambda document: entry_of(document).update({name: value})


NOT_VALID: dict[str, Change] = {
    "a path that leaves the folder": renamed("../../../../escaped.txt"),
    "an absolute path": renamed("/tmp/escaped.txt"),
    "a path of another system": renamed("..\\escaped.txt"),
    "a path with a control character": renamed("config\n.json"),
    "a path longer than a key": renamed("a/" * 500 + "b"),
    "a path of nothing but separators": renamed("/" * (1 << 20)),
    "a file that is a folder too": lambda document: document["files"].update(
        {"config.json/inner": dict(entry_of(document))}
    ),
    "a size of true": with_value("size", True),
    "a size below zero": with_value("size", -1),
    "a size above all objects": with_value("size", 10**18),
    "a size as text": with_value("size", "12"),
    "a checksum of another length": with_value("sha256", "ab"),
    "a checksum that is a list": with_value("sha256", ["a"] * 64),
    "a name of content that leads elsewhere": with_value("blob", "../../x"),
    "a name of content that is another checksum": with_value("blob", OTHER),
    "two files with one name of content": lambda document: document["files"].update(
        {"second.json": {**entry_of(document), "sha256": OTHER, "blob": entry_of(document)["blob"]}}
    ),
    "an entry that is none": lambda document: document["files"].update({"config.json": None}),
    "files that are a list": lambda document: document.update(files=[1, 2]),
    "another model": lambda document: document.update(repo="acme/other"),
    "another commit": lambda document: document.update(commit="f" * 40),
}
"""Manifests that a reader must refuse as they are."""
WRONG: dict[str, Change] = {
    "a size of zero": with_value("size", 0),
    "a smaller size": with_value("size", 3),
    "a greater size": with_value("size", 1 << 20),
    "another checksum": with_value("sha256", OTHER),
    "an object that is absent": renamed("absent.json"),
}
"""Manifests of a valid form, which the bytes in the bucket contradict."""


@pytest.fixture
def stored(endpoint: str, bucket: S3Bucket, model_store: ModelStore) -> tuple[str, dict[str, Any]]:
    """Return key and content of the manifest of a model that the bucket has."""
    files = {"config.json": b'{"model_type": "tiny"}', "sub/model.safetensors": bytes(range(256)) * 400}
    entries = {}
    for path, content in files.items():
        put(endpoint, model_store.file_key(NAME, COMMIT, path), content)
        sha256 = hashlib.sha256(content).hexdigest()
        entries[path] = {"size": len(content), "sha256": sha256, "blob": sha256}
    put(endpoint, model_store.key(NAME, "refs", "main"), COMMIT.encode())
    key = model_store.key(NAME, "manifests", f"{COMMIT}.json")
    document = {"format": 1, "repo": NAME, "commit": COMMIT, "has_all": True, "uploaded_at": "", "files": entries}
    put(endpoint, key, document)
    assert model_store.find(NAME, "main") is not None
    return key, document


@pytest.fixture
def uploaded(
    hub: Hub, endpoint: str, bucket: S3Bucket, model_store: ModelStore, tmp_path: Path
) -> tuple[Leg, str, dict[str, Any]]:
    """Return a leg, and key and content of the manifest that an upload made of its model."""
    hub.add(NAME, FILES)
    leg = Leg(tmp_path / "leg", hub, endpoint)
    assert leg.ensure().endswith("[exit 0]")
    key = model_store.key(NAME, "manifests", f"{model_store.ref(NAME, 'main')}.json")
    content = model_store.store.get(key)
    assert content is not None
    return leg, key, json.loads(content[0])


def put(endpoint: str, key: str, document: object) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    s3.client(endpoint).put_object(Bucket=s3.BUCKET, Key=key, Body=body)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


@pytest.mark.parametrize("name", NOT_VALID | WRONG)
def test_the_machine_takes_nothing_of_a_changed_manifest(  # noqa: PLR0917  fixtures
    stored: tuple[str, dict[str, Any]],
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """No half model has a name, no file is outside the cache, and the job is told to ask the hub."""
    key, document = stored
    (NOT_VALID | WRONG)[name](document)
    put(endpoint, key, document)
    place = tmp_path / "machine"
    (place / "hub").mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "hub"))
    before = files_below(tmp_path)
    request = {"bucket": s3.BUCKET, "prefix": "hub", "names": [[NAME, "main"]], "work": "w", "exact": "e"}

    models_restore.restore(model_bucket.Cache(request, state=str(place), client=s3.client(endpoint)))

    assert f"cvl-ci: {NAME}: " in (told := capsys.readouterr().out)
    assert "The job may ask the hub for it." in told
    assert json.loads((place / "models.json").read_text()) == {"restored": [], "is_offline": False}
    assert not (place / "models-offline").exists()
    assert not (place / "hub/by-name").exists()
    new = {path for path in files_below(tmp_path) - before if path != "machine/models.json"}
    assert all(path.startswith("machine/hub/models--acme--tiny/") and "escaped" not in path for path in new), new
    for blob in (place / "hub/models--acme--tiny/blobs").glob("*"):
        assert blob.name in model_bucket.checksums(str(blob), blob.stat().st_size), "a file has the name of its content"


def test_the_job_asks_the_hub_in_place_of_a_changed_manifest(
    uploaded: tuple[Leg, str, dict[str, Any]], endpoint: str, hub: Hub, model_store: ModelStore
) -> None:
    """The whole run of a node: it ends well, and what its job downloaded replaces the manifest."""
    leg, key, document = uploaded
    put(endpoint, key, {**document, "files": {"../../../../escaped.txt": entry_of(document)}})
    hub.requests.clear()
    output = leg.node(NAME)
    MESSAGES.check("a hostile path", golden.line(output, "its manifest is not valid"))
    assert LOADED in output
    assert hub.requests
    manifest = model_store.manifest(NAME, document["commit"])
    assert manifest is not None
    assert set(manifest.files) == set(FILES)


@pytest.mark.parametrize("name", [name for name in NOT_VALID if name != "a file that is a folder too"])
def test_the_machine_and_the_runner_refuse_the_same_manifests(
    stored: tuple[str, dict[str, Any]], endpoint: str, model_store: ModelStore, name: str
) -> None:
    key, document = stored
    commit = document["commit"]
    assert valid_files(document, NAME, commit)
    NOT_VALID[name](document)
    with pytest.raises(ValueError, match="manifest is not valid"):
        valid_files(document, NAME, commit)
    put(endpoint, key, document)
    if name != "a size above all objects":
        with pytest.raises(StorageError, match="is not valid"):
            model_store.manifest(NAME, commit)


def test_a_manifest_has_bounds(
    stored: tuple[str, dict[str, Any]], endpoint: str, model_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More files than a model has, more bytes than a manifest has, and brackets that never close."""
    key, document = stored
    monkeypatch.setenv("HF_HUB_CACHE", "/nowhere")
    request = {"bucket": s3.BUCKET, "prefix": "hub", "names": [], "work": "w", "exact": "e"}
    entry = dict(entry_of(document))
    assert model_bucket.MOST_FILES == snapshot.MOST_FILES
    many = {**document, "files": {f"f{number}": entry for number in range(snapshot.MOST_FILES + 1)}}
    with pytest.raises(ValueError, match="more than 100000 files"):
        valid_files(many, NAME, document["commit"])
    for content in (b" " * (model_bucket.MOST_MANIFEST + 1), b"[" * 1_000_000, b'{"files":'):
        put(endpoint, key, content)
        with pytest.raises(StorageError):
            model_store.manifest(NAME, document["commit"])
        cache = model_bucket.Cache(request, state="", client=s3.client(endpoint))
        with pytest.raises((ValueError, RecursionError)):
            cache.get_json(key.removeprefix("hub/"))


def test_an_object_longer_than_announced_does_not_fill_the_disk(
    uploaded: tuple[Leg, str, dict[str, Any]], endpoint: str, model_store: ModelStore
) -> None:
    """The download ends with the announced bytes: of 64 MiB, the disk gets less than a quarter."""
    leg, _, document = uploaded
    key = model_store.file_key(NAME, document["commit"], "config.json")
    put(endpoint, key, bytes(64 << 20))
    leg.script = f"du -sb --apparent-size $HF_HUB_CACHE | cut -f1 | sed 's/^/bytes /'; {leg.script}"
    output = leg.node(NAME)
    assert "config.json in the bucket is longer" in output
    assert LOADED in output
    [on_disk] = [int(line.split()[1]) for line in output.splitlines() if line.startswith("bytes ")]
    assert on_disk < (16 << 20) + FILES["sub/model.safetensors"].size
