"""A model is in the bucket whole or not at all, by the hub's real client and against moto's S3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import huggingface_hub
import pytest

from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.commands.models import listing, sending
from cvl_ci.commands.models import model_store as model_stores
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.commands.models.upload import UploadedModel, UploadPorts, UploadRequest, upload
from cvl_ci.errors import CredentialsError, HubError, RequestError, StorageError
from cvl_ci.hub.client import HuggingFaceHub
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.model_folder import ModelFolder
from cvl_ci.ports.models import StoredPart, UnfinishedUpload
from tests import golden
from tests.support import s3
from tests.support.hub import TOKEN, Fault, Hub, HubFile, small

MESSAGES = golden.Messages(__name__)

NAME = "acme/tiny"
LARGE = (2 << 23) + 12345


def files(size: int = LARGE) -> dict[str, HubFile]:
    return {
        "config.json": small('{"model_type": "tiny"}'),
        "model.safetensors": HubFile(size=size, seed=1),
        "onnx/model.onnx": HubFile(size=2 << 20, seed=2),
        "empty.txt": small(""),
    }


class Uploader:
    """Uploads from the test's hub, and keeps what was told and how long it paused."""

    def __init__(self, hub: Hub, model_store: ModelStore) -> None:
        self.hub, self.model_store = hub, model_store
        self.lines: list[str] = []
        self.pauses: list[float] = []

    def __call__(self, *patterns: str, revision: str = "", token: str | None = None, repo: str = NAME) -> UploadedModel:
        source = HuggingFaceHub(endpoint=self.hub.endpoint, token=token or False)
        ports = UploadPorts(
            source=source,
            model_store=self.model_store,
            clock=SystemClock(),
            tell=self.lines.append,
            pause=self.pauses.append,
        )
        return upload(UploadRequest(repo=repo, files=patterns, revision=revision), ports)


@pytest.fixture
def uploads(hub: Hub, model_store: ModelStore) -> Uploader:
    return Uploader(hub, model_store)


def contents(model_store: ModelStore, commit: str) -> dict[str, bytes]:
    prefix = model_store.prefix(NAME, "snapshots", commit)
    found = {}
    for one in model_store.store.objects(prefix):
        with model_store.store.stream(one.key) as pieces:
            found[one.key.removeprefix(prefix)] = b"".join(pieces)
    return found


def expected(of: dict[str, HubFile]) -> dict[str, bytes]:
    return {path: b"".join(one.pieces()) for path, one in of.items()}


def test_a_model_is_stored_once_and_the_second_time_moves_nothing(
    hub: Hub, model_store: ModelStore, uploads: Uploader
) -> None:
    commit = hub.add(NAME, files())
    first = uploads()
    assert contents(model_store, commit) == expected(files())
    assert first.moved_bytes == sum(one.size for one in files().values())
    assert first.manifest.has_all
    assert model_store.ref(NAME, "main") == commit
    assert list(model_store.store.uploads("")) == []
    hub.requests.clear()
    hub.sent = 0
    second = uploads()
    assert (second.moved_bytes, second.moved_files, hub.sent) == (0, 0, 0)
    assert hub.requests == [f"GET /api/models/{NAME}"]
    assert second.manifest.files == first.manifest.files


def test_a_bucket_ends_unfinished_uploads_by_itself_and_keeps_its_own_rules(
    endpoint: str, hub: Hub, model_store: ModelStore, uploads: Uploader
) -> None:
    own = {"ID": "own", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    client = s3.client(endpoint)
    client.put_bucket_lifecycle_configuration(Bucket=s3.BUCKET, LifecycleConfiguration={"Rules": [own]})
    hub.add(NAME, {"a.json": small("{}")})
    uploads()
    rules = client.get_bucket_lifecycle_configuration(Bucket=s3.BUCKET)["Rules"]
    assert rules[0]["ID"] == "own"
    assert rules[1]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert rules[1]["Filter"] == {"Prefix": "hub/"}
    assert model_store.store.end_unfinished_uploads("hub/") == ""
    assert len(client.get_bucket_lifecycle_configuration(Bucket=s3.BUCKET)["Rules"]) == 2


def test_named_files_only_and_later_the_others(hub: Hub, model_store: ModelStore, uploads: Uploader) -> None:
    commit = hub.add(NAME, files())
    part = uploads("*.json", "onnx/*")
    assert set(part.manifest.files) == {"config.json", "onnx/model.onnx"}
    assert not part.manifest.has_all
    hub.sent = 0
    whole = uploads()
    assert hub.sent == LARGE
    assert whole.manifest.has_all
    assert contents(model_store, commit) == expected(files())
    with pytest.raises(RequestError) as wrong:
        uploads("modle.safetensors")
    MESSAGES.check("no such file", str(wrong.value))


def test_a_busy_hub_gets_the_pause_it_asks_for(hub: Hub, model_store: ModelStore, uploads: Uploader) -> None:
    commit = hub.add(NAME, files())
    hub.faults = [
        ("/api/models", Fault(status=429, headers={"Retry-After": "17"})),
        ("/api/models", Fault(status=503)),
        ("/resolve/", Fault(status=429, headers={"RateLimit": '"resolvers";r=0;t=23'})),
    ]
    uploads()
    assert 17 <= uploads.pauses[0] < 18
    assert any(23 <= pause < 24 for pause in uploads.pauses[1:])
    assert contents(model_store, commit) == expected(files())
    assert any("429. The next try follows in 17 s." in line for line in uploads.lines)


def test_a_hub_that_stays_busy_is_an_error_after_a_bounded_number_of_tries(hub: Hub, uploads: Uploader) -> None:
    hub.refuses = Fault(status=429, headers={"Retry-After": "99999"})
    with pytest.raises(HubError, match="after 9 tries: the hub answers 429"):
        uploads()
    assert len(hub.requests) == 9
    assert all(pause <= 360 for pause in uploads.pauses)


def test_a_cut_in_mid_file_is_continued_at_that_byte(hub: Hub, model_store: ModelStore, uploads: Uploader) -> None:
    commit = hub.add(NAME, files())
    hub.faults = [("/cdn/acme/tiny/resolve", Fault(cut_after=size)) for size in (9 << 20, 100_000, 1)]
    uploads()
    assert contents(model_store, commit) == expected(files())
    assert hub.sent <= sum(one.size for one in files().values()) + (1 << 17)


def test_wrong_bytes_are_never_part_of_a_model(hub: Hub, model_store: ModelStore, uploads: Uploader) -> None:
    commit = hub.add(NAME, files())
    hub.faults = [("/cdn/acme/tiny/resolve", Fault(wrong=True))]
    uploads()
    assert contents(model_store, commit) == expected(files())
    listing.remove(model_store, NAME, "")
    hub.faults = [("/cdn/acme/tiny/resolve", Fault(wrong=True)) for _ in range(9)]
    with pytest.raises(HubError, match=r"other bytes of .* announced, 2 times"):
        uploads()
    assert model_store.find(NAME, "main") is None


class CorruptingBucket(S3Bucket):
    """A store that changes a byte of the part of this number, as often as `times`."""

    def __init__(self, client: Any, *, number: int, times: int) -> None:
        super().__init__(client, s3.BUCKET)
        self.number, self.times = number, times

    def send(self, upload: UnfinishedUpload, number: int, body: BinaryIO, *, sha256: str, size: int) -> StoredPart:
        if number == self.number and self.times:
            self.times -= 1
            content = bytearray(body.read())
            content[len(content) // 2] ^= 1
            body.seek(0)
            body.write(content)
            body.seek(0)
        return super().send(upload, number, body, sha256=sha256, size=size)


@pytest.mark.parametrize("number", [1, 3])
def test_a_corrupted_part_is_found_before_the_manifest(
    endpoint: str, hub: Hub, model_store: ModelStore, number: int
) -> None:
    commit = hub.add(NAME, files())
    bad = ModelStore(CorruptingBucket(s3.client(endpoint), number=number, times=1), model_store.address)
    Uploader(hub, bad)()
    assert contents(model_store, commit) == expected(files())
    listing.remove(model_store, NAME, "")
    bad = ModelStore(CorruptingBucket(s3.client(endpoint), number=number, times=9), model_store.address)
    with pytest.raises(StorageError, match="other bytes of hub/models--acme--tiny"):
        Uploader(hub, bad)()
    assert model_store.find(NAME, "main") is None
    assert list(model_store.store.uploads("")) == []


def test_an_object_that_changes_later_is_found_by_verify(
    endpoint: str, hub: Hub, model_store: ModelStore, uploads: Uploader
) -> None:
    commit = hub.add(NAME, files())
    uploads()
    assert listing.verify(model_store, NAME, "main").problems == ()
    key = model_store.file_key(NAME, commit, "config.json")
    s3.client(endpoint).put_object(Bucket=s3.BUCKET, Key=key, Body=b'{"model_type": "tinY"}')
    [problem] = listing.verify(model_store, NAME, "main").problems
    assert problem.startswith("config.json has the SHA-256 ")
    s3.client(endpoint).delete_object(Bucket=s3.BUCKET, Key=key)
    assert listing.verify(model_store, NAME, "main").problems == ("config.json is missing",)
    hub.sent = 0
    uploads()
    assert hub.sent == files()["config.json"].size
    assert listing.verify(model_store, NAME, commit).problems == ()


def test_a_gated_model_needs_a_token_which_no_other_host_gets(
    hub: Hub, model_store: ModelStore, uploads: Uploader
) -> None:
    hub.add(NAME, files(), is_gated=True)
    with pytest.raises(CredentialsError, match="acme/tiny is gated") as refusal:
        uploads()
    assert "Ask for access at" in refusal.value.next_step
    with pytest.raises(CredentialsError, match="403"):
        uploads(token="hf_wrong_token_of_another_person")
    uploads(token=TOKEN)
    assert set(hub.cdn_tokens) == {""}
    assert hub.tokens[-1] == f"Bearer {TOKEN}"
    stored = "".join(one.key for one in model_store.store.objects("")) + "".join(uploads.lines)
    assert TOKEN not in stored


def test_a_malformed_token_is_not_quoted(hub: Hub, uploads: Uploader) -> None:
    hub.add(NAME, files())
    with pytest.raises(HubError, match="the token is malformed") as error:
        uploads(token=f"{TOKEN}\n")
    assert TOKEN not in str(error.value)


def test_an_unknown_model_or_revision_is_named(hub: Hub, uploads: Uploader) -> None:
    with pytest.raises(CredentialsError, match="The hub shows no repository acme/none"):
        uploads(repo="acme/none")
    hub.add(NAME, files())
    with pytest.raises(RequestError, match="'v9' is not a revision of acme/tiny"):
        uploads(revision="v9")


@pytest.mark.parametrize("path", ["../x", "a//b", "/etc/passwd", "a/../../b", "a\\b", "a\nb"])
def test_a_hostile_name_is_stored_nowhere(hub: Hub, model_store: ModelStore, uploads: Uploader, path: str) -> None:
    hub.add(NAME, {path: small("x"), "config.json": small("{}")})
    with pytest.raises(HubError, match="acme/tiny that cvl-ci stores nowhere"):
        uploads()
    assert list(model_store.store.objects("")) == []


def test_a_missing_bucket_and_its_next_step(endpoint: str, hub: Hub, model_store: ModelStore) -> None:
    hub.add(NAME, files())
    nowhere = ModelStore(S3Bucket(s3.client(endpoint), "no-such-bucket-here"), model_store.address)
    with pytest.raises(StorageError, match="no-such-bucket-here does not exist") as error:
        Uploader(hub, nowhere)()
    assert "aws s3 mb s3://no-such-bucket-here" in error.value.next_step


def test_a_folder_is_a_source_too(tmp_path: Path, model_store: ModelStore) -> None:
    for path, one in files().items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"".join(one.pieces()))
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("token")

    def go() -> UploadedModel:
        ports = UploadPorts(
            source=ModelFolder(tmp_path), model_store=model_store, clock=SystemClock(), tell=lambda _: None
        )
        return upload(UploadRequest(repo=NAME), ports)

    first = go()
    assert contents(model_store, first.manifest.commit) == expected(files())
    assert go().moved_bytes == 0
    (tmp_path / "config.json").write_text("{}")
    assert go().manifest.commit != first.manifest.commit
    (tmp_path / "keys").symlink_to("/etc/hostname")
    with pytest.raises(RequestError, match="holds keys, which is not a file"):
        go()


def test_two_uploads_share_the_parts_of_one_file(
    endpoint: str, hub: Hub, model_store: ModelStore, uploads: Uploader
) -> None:
    """Another upload of the same commit completes the object first, or has an unfinished upload of its own."""
    commit = hub.add(NAME, files())
    key = model_store.file_key(NAME, commit, "model.safetensors")
    other = model_store.store.begin(key, labels={})
    body = b"".join(files()["model.safetensors"].pieces())[: sending.PART]
    s3.client(endpoint).upload_part(Bucket=s3.BUCKET, Key=key, UploadId=other.id, PartNumber=1, Body=body)
    model_store.store.begin(key, labels={})
    hub.sent = 0
    uploads()
    assert contents(model_store, commit) == expected(files())
    assert hub.sent <= sum(one.size for one in files().values()) - sending.PART + (1 << 17)
    assert list(model_store.store.uploads("")) == []


def test_parts_of_another_size_are_not_used(
    endpoint: str, hub: Hub, model_store: ModelStore, uploads: Uploader
) -> None:
    commit = hub.add(NAME, files())
    key = model_store.file_key(NAME, commit, "model.safetensors")
    other = model_store.store.begin(key, labels={})
    s3.client(endpoint).upload_part(Bucket=s3.BUCKET, Key=key, UploadId=other.id, PartNumber=1, Body=b"x" * (5 << 20))
    uploads()
    assert contents(model_store, commit) == expected(files())
    assert list(model_store.store.uploads("")) == []


def test_a_part_of_wrong_bytes_from_an_earlier_upload_is_found(
    endpoint: str, hub: Hub, model_store: ModelStore, uploads: Uploader
) -> None:
    commit = hub.add(NAME, files())
    key = model_store.file_key(NAME, commit, "model.safetensors")
    other = model_store.store.begin(key, labels={})
    wrong = b"x" * sending.PART
    s3.client(endpoint).upload_part(Bucket=s3.BUCKET, Key=key, UploadId=other.id, PartNumber=2, Body=wrong)
    uploads()
    assert contents(model_store, commit) == expected(files())


def test_a_list_names_sizes_dollars_and_leftovers(hub: Hub, model_store: ModelStore, uploads: Uploader) -> None:
    commit = hub.add(NAME, files())
    assert listing.stored_models(model_store).models == ()
    key = model_store.file_key(NAME, "0" * 40, "a.bin")
    model_store.store.begin(key, labels={})
    model_store.store.put(model_store.file_key("acme/half", "1" * 40, "b.bin"), b"x" * 10, labels={}, replaces="")
    uploads()
    stored = listing.stored_models(model_store)
    half, whole = stored.models
    assert (half.repo, half.manifest, half.bytes) == ("acme/half", None, 10)
    assert (whole.repo, whole.commit, whole.refs) == (NAME, commit, ("main",))
    assert stored.unfinished_uploads == 1
    listing.remove(model_store, NAME, "main")
    listing.remove(model_store, "acme/half", "")
    assert listing.remove(model_store, NAME, "") == 0
    assert listing.stored_models(model_store).models == ()
    with pytest.raises(RequestError, match="not a model of s3://models-bucket/hub"):
        listing.remove(model_store, NAME, "")


def test_removing_one_commit_keeps_the_other(hub: Hub, model_store: ModelStore, uploads: Uploader) -> None:
    old = hub.add(NAME, {"config.json": small("1")})
    uploads()
    new = hub.add(NAME, {"config.json": small("2")})
    uploads()
    assert model_store.find(NAME, "main") == model_store.manifest(NAME, new)
    listing.remove(model_store, NAME, old)
    assert model_store.manifest(NAME, old) is None
    assert listing.verify(model_store, NAME, "main").problems == ()


def test_a_manifest_of_wrong_form_is_no_model(hub: Hub, model_store: ModelStore, uploads: Uploader) -> None:
    commit = hub.add(NAME, files())
    key = model_store.key(NAME, "manifests", f"{commit}.json")
    for body in (b"", b"[]", b"{", b'{"format": 1}', b'{"format": 1, "repo": "x", "commit": "y", "files": {}}'):
        model_store.store.put(key, body, labels={}, replaces=None)
        with pytest.raises(StorageError, match="is not valid"):
            uploads()


def test_a_store_that_checks_parts_itself_needs_no_reading_back(
    endpoint: str, hub: Hub, model_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 returns each part's SHA-256 after comparing it. moto returns none, so this bucket adds it."""
    commit = hub.add(NAME, {"model.safetensors": HubFile(size=LARGE, seed=1)})
    streamed: list[str] = []

    class CheckingBucket(S3Bucket):
        def send(self, upload: UnfinishedUpload, number: int, body: BinaryIO, *, sha256: str, size: int) -> StoredPart:
            return replace(super().send(upload, number, body, sha256=sha256, size=size), sha256=sha256)

        @contextmanager
        def stream(self, key: str) -> Iterator[Iterator[bytes]]:
            streamed.append(key)
            with super().stream(key) as pieces:
                yield pieces

    checking = ModelStore(CheckingBucket(s3.client(endpoint), s3.BUCKET), model_store.address)
    Uploader(hub, checking)()
    assert streamed == []
    assert contents(model_store, commit) == expected({"model.safetensors": HubFile(size=LARGE, seed=1)})


def test_parts_grow_with_the_file_within_the_limits_of_s3() -> None:
    for size in (1, 80 << 30, 500 << 30, 50 << 40):
        assert sending.part_size(size) >= 5 << 20
        assert -(-size // sending.part_size(size)) <= 10_000


def test_the_hub_client_of_the_program_around_this_library_stays(hub: Hub) -> None:
    own = huggingface_hub.get_session()
    commit = hub.add(NAME, {"config.json": small("{}")})
    source = HuggingFaceHub(endpoint=hub.endpoint, token=False)
    assert source.snapshot(NAME, "main").commit == commit
    assert huggingface_hub.get_session() is own and not own.is_closed


def test_verify_finds_files_that_somebody_replaced_together_with_their_manifest(
    hub: Hub, model_store: ModelStore, bucket: S3Bucket, uploads: Uploader
) -> None:
    """Whoever may write to the bucket can do this. The manifest alone cannot show it, and the hub's metadata does."""
    hub.add(NAME, {"config.json": small('{"a": 1}'), "model.bin": HubFile(size=2000, seed=5)})
    uploads()
    source = HuggingFaceHub(endpoint=hub.endpoint, token=False)
    assert listing.verify(model_store, NAME, "main", hub=source).problems == ()
    manifest = model_store.find(NAME, "main")
    assert manifest is not None
    for path, body in {"config.json": b'{"a": 2}', "model.bin": b"x" * 2000}.items():
        bucket.put(model_store.file_key(NAME, manifest.commit, path), body, labels={}, replaces=None)
        new = replace(manifest.files[path], sha256=hashlib.sha256(body).hexdigest())
        manifest = replace(manifest, files={**manifest.files, path: new})
    bucket.put(
        model_store.key(NAME, "manifests", f"{manifest.commit}.json"),
        model_stores._text(manifest),
        labels={},
        replaces=None,
    )
    assert listing.verify(model_store, NAME, "main").problems == ()
    problems = listing.verify(model_store, NAME, "main", hub=source).problems
    assert [problem.split()[0] for problem in problems] == ["config.json", "model.bin"]
    assert all("somebody replaced both" in problem for problem in problems)
    hub.refuses = Fault(status=503)
    assert listing.verify(model_store, NAME, "main", hub=source).not_asked == "the hub answers 503."
