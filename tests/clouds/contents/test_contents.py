"""The contents of buckets of every store, against a server of its API that its official client fills."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from cvl_ci.clouds import all_stores, contents
from cvl_ci.clouds import http as cloud_http
from cvl_ci.clouds.aws.buckets import AwsBuckets
from cvl_ci.clouds.azure.containers import STORAGE, AzureContainers
from cvl_ci.clouds.cloudflare import buckets as r2
from cvl_ci.clouds.contents import EveryStore
from cvl_ci.clouds.gcp.buckets import GoogleBuckets
from cvl_ci.commands.run import mount_sources
from cvl_ci.errors import CredentialsError, EngineError, RequestError
from cvl_ci.inputs import bucket_address, mounts
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.model_plan import ModelPlan
from cvl_ci.model.plan import FilePlan, RunPlan, WorkPlan
from cvl_ci.model.storage import StoredBytes
from cvl_ci.ports import BucketContents
from tests import golden
from tests.peers import node
from tests.peers.results import ACCOUNT, KEY
from tests.support import s3

MESSAGES = golden.Messages(__name__)

SIZES = {"data/a.bin": 1000, "data/sub/b c+ü.bin": 7, "data2/c.bin": 5, "one.bin": 11, "empty": 0}
SUMS = {
    "": StoredBytes(files=5, bytes=1023),
    "/data": StoredBytes(files=2, bytes=1007),
    "/data/": StoredBytes(files=2, bytes=1007),
    "/data/sub": StoredBytes(files=1, bytes=7),
    "/one.bin": StoredBytes(files=1, bytes=11),
    "/nothing": StoredBytes(files=0, bytes=0),
}
"""Path below the bucket → its content. A sibling whose name only begins so is not part of it."""


@contextmanager
def google() -> Iterator[Callable[[], BucketContents]]:
    from gcp_storage_emulator.server import create_server
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    api = f"http://127.0.0.1:{port}"
    try:
        client = storage.Client(
            project="p",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": api},
        )
        bucket = client.create_bucket("filled")
        for name, size in SIZES.items():
            bucket.blob(name).upload_from_string(b"x" * size)
        assert {blob.name: blob.size for blob in client.list_blobs("filled")} == SIZES
        client.close()

        def session() -> requests.Session:
            result = cloud_http.session()
            result.hooks["response"].append(_with_google_s_words)
            return result

        yield lambda: GoogleBuckets(session, api=api)
    finally:
        server.stop()


def _with_google_s_words(answer: requests.Response, **_: Any) -> None:
    """Add the body of Google's 404 (Cloud Storage JSON API, "HTTP status and error codes"): the emulator's has none."""
    if answer.status_code == 404:
        answer._content = b'{"error": {"code": 404, "message": "The specified bucket does not exist."}}'


@contextmanager
def azure(folder: Path, certificate: tuple[Path, Path]) -> Iterator[Callable[[], BucketContents]]:
    if reason := node.missing():
        pytest.skip(reason)
    with node.azurite(folder, certificate=certificate) as port, pytest.MonkeyPatch.context() as variables:
        address = f"https://127.0.0.1:{port}/{ACCOUNT}"
        environ = {"NODE_EXTRA_CA_CERTS": str(certificate[0])}
        listing = node.run_alone("blobs.mjs", address, ACCOUNT, KEY, "filled", json.dumps(SIZES), environ=environ)
        assert listing == SIZES
        variables.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        yield lambda: AzureContainers(
            lambda: cloud_http.session(f"Bearer {entra_token(STORAGE)}"),
            place=lambda account: f"https://127.0.0.1:{port}/{account}",
        )


@contextmanager
def cloudflare(folder: Path) -> Iterator[Callable[[], BucketContents]]:
    with s3.moto() as endpoint:
        client = s3.client(endpoint)
        client.create_bucket(Bucket="filled")
        for name, size in SIZES.items():
            client.put_object(Bucket="filled", Key=name, Body=b"x" * size)
        r2_files(folder)
        yield lambda: r2.open_buckets({"HOME": str(folder)}, endpoint=endpoint)


def r2_files(folder: Path, *, account: str = "0123456789abcdef") -> None:
    (folder / ".cloudflare").mkdir()
    (folder / ".cloudflare/accountid").write_text(f"{account}\n")
    (folder / ".cloudflare/r2.credentials").write_text(
        "[r2]\naws_access_key_id = test-key\naws_secret_access_key = test-secret\n"
    )


def entra_token(audience: str) -> str:
    """Return a token with the claims that Azure's storage reads. The emulator reads them, and no signature."""
    now = int(time.time())
    claims = {"aud": audience, "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/"}
    parts = [{"alg": "none", "typ": "JWT"}, {**claims, "iat": now, "nbf": now - 60, "exp": now + 600}]
    return ".".join([*(urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts), "c2ln"])


@pytest.fixture(scope="module", params=["gs", pytest.param("az", marks=pytest.mark.peers), "r2"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[tuple[str, EveryStore]]:
    """Return the address of a bucket with files, and the contents of every store."""
    folder = tmp_path_factory.mktemp(request.param)
    played: dict[str, Callable[[], AbstractContextManager[Callable[[], BucketContents]]]] = {
        "gs": google,
        "az": lambda: azure(folder, certificate),
        "r2": lambda: cloudflare(folder),
    }
    with played[request.param]() as opener:
        place = f"{ACCOUNT}/" if request.param == "az" else ""
        yield f"{request.param}://{place}filled", EveryStore({request.param: opener})


def content(stores: BucketContents, text: str) -> StoredBytes | None:
    address = bucket_address.read_any(text)
    assert address is not None
    return stores.content(address, seconds=60)


@pytest.mark.parametrize("page", [2, 1000])
def test_the_content_is_that_of_the_official_client(
    store: tuple[str, EveryStore], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(contents, "PAGE", page)
    address, stores = store
    assert {path: content(stores, address + path) for path in SUMS} == SUMS


def test_a_bucket_that_does_not_exist_ends_a_run_before_a_machine(store: tuple[str, EveryStore]) -> None:
    address, stores = store
    lines: list[str] = []

    def require(text: str, **entries: Any) -> None:
        work = WorkPlan(task_extra={"file_mounts": {f"/{name}": value for name, value in entries.items()}})
        plan = RunPlan(title="t", files=FilePlan(mounts=mounts.read(text)), work=work)
        mount_sources.require(plan, stores, lines.append)

    require(f"/a={address}/data", t={"source": f"{address}/data2", "mode": "COPY"})
    assert lines == [f"/a has 2 files, 1.0 kB, in {address}/data.", f"/t has 1 file, 5 B, in {address}/data2."]
    missing = address.replace("filled", "absent")
    assert content(stores, missing) is None
    with pytest.raises(RequestError) as wrong:
        require(f"/a={missing}\n/b={address}/nothing")
    assert [mistake.problem.split(":")[0] for mistake in wrong.value.mistakes] == [
        "names a bucket that does not exist",
        "names no file",
    ]


class Busy:
    """A store that is busy, one whose list is too long, and a library that is not installed."""

    def __init__(self, go_on: threading.Event) -> None:
        self.go_on = go_on

    def content(self, address: BucketAddress, *, seconds: float) -> StoredBytes | None:
        if address.bucket == "broken":
            raise ModuleNotFoundError("No module named 'boto3'")
        if address.bucket == "busy":
            self.go_on.wait(60)
        if address.bucket == "absent":
            return None
        least = {"large": 7, "slow-first-page": 0}.get(address.bucket)
        return StoredBytes(files=1, bytes=2) if least is None else StoredBytes(files=least, bytes=9, is_complete=False)


def test_a_store_that_gives_no_answer_in_time_is_a_line_and_keeps_no_other_one_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mount_sources, "ALL_SECONDS", 2.0)
    lines: list[str] = []
    go_on = threading.Event()
    names = ("broken", "busy", "fast", "large", "slow-first-page", *["fast"] * mount_sources.AT_ONCE)
    plan = RunPlan(title="t", files=FilePlan(mounts=mounts.read([f"/{n}=s3://{one}" for n, one in enumerate(names)])))
    mount_sources.require(plan, Busy(go_on), lines.append)
    MESSAGES.check("each store", lines[:5])
    assert len(lines) == len(names)
    wrong_last = RunPlan(title="t", files=FilePlan(mounts=mounts.read("/a=s3://busy\n/b=s3://absent")))
    with pytest.raises(RequestError, match="/b=s3://absent"):
        mount_sources.require(wrong_last, Busy(go_on), lines.append)
    go_on.set()
    cache = replace(wrong_last, files=FilePlan(), models=ModelPlan(cache=BucketAddress(bucket="absent", prefix="hub")))
    with pytest.raises(RequestError) as absent:
        mount_sources.require(cache, Busy(go_on), lines.append)
    MESSAGES.check("no bucket of the models", str(absent.value))


def test_a_list_that_comes_late_is_counted_and_complete_without_a_further_page() -> None:
    address = BucketAddress(bucket="b")
    pages = [{"a": 1}, {"b": 2}, {"c": 4}]
    late = [contents.stored_bytes(pages[:count], address, is_late=lambda: True) for count in (0, 1, 2)]
    assert late == [StoredBytes(files=0, bytes=0), StoredBytes(files=1, bytes=1), replace(late[1], is_complete=False)]


def test_a_store_that_cannot_be_opened_gives_no_answer() -> None:
    def broken(*_: Any) -> Any:
        raise ModuleNotFoundError("No module named 'boto3'")

    for stores in (EveryStore({"s3": broken}), AwsBuckets(clients=broken)):
        with pytest.raises(EngineError, match="No module named 'boto3'"):
            content(stores, "s3://weights")


def test_a_404_of_another_server_does_not_prove_that_a_bucket_is_absent() -> None:
    class Portal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b"<html>Sign in</html>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Portal) as portal:
        thread = threading.Thread(target=portal.serve_forever)
        thread.start()
        try:
            stores = GoogleBuckets(cloud_http.session, api=f"http://127.0.0.1:{portal.server_port}")
            with pytest.raises(EngineError, match="did not list gs://absent: HTTP 404"):
                content(stores, "gs://absent")
        finally:
            portal.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://acct.blob.core.windows.net/cont/a/b", "az://acct/cont/a/b"),
        ("az://acct/cont", "az://acct/cont"),
        ("gs://b_b/a/", "gs://b_b/a"),
        ("hf://acme/tiny", "hf://acme/tiny"),
        ("hf://acme/tiny@v1/a/b/", "hf://acme/tiny@v1/a/b"),
        ("hf://datasets/acme/tiny/a", "hf://datasets/acme/tiny/a"),
        ("hf://tiny", None),
        ("hf://datasets/tiny", None),
        ("hf://buckets/acme/tiny", None),
        ("hf://acme/tiny@/a", None),
        ("volume://claim", None),
        ("./folder", None),
        ("https://acct.blob.core.windows.net", None),
        ("gs://b?x=/y", None),
        (None, None),
    ],
)
def test_addresses_that_can_be_listed(text: object, address: str | None) -> None:
    read = bucket_address.read_any(text)
    assert (str(read) if read else None) == address


GOOGLE = {
    "another kind": {"kind": "storage#buckets", "items": []},
    "no kind": {},
    "an error": {"error": {"message": "x"}, "kind": "storage#objects"},
    "a size that is none": {"kind": "storage#objects", "items": [{"name": "a", "size": "many"}]},
    "no size": {"kind": "storage#objects", "items": [{"name": "a"}]},
    "no list": {"kind": "storage#objects", "items": "a"},
    "a page for ever": {"kind": "storage#objects", "items": [], "nextPageToken": "same"},
}
AZURE = {
    "no XML": b"{}",
    "another document": b"<Error><Code>x</Code></Error>",
    "no size": b"<EnumerationResults><Blobs><Blob><Name>a</Name></Blob></Blobs><NextMarker/></EnumerationResults>",
    "no last page": b"<EnumerationResults><Blobs/><NextMarker>same</NextMarker></EnumerationResults>",
    "no marker": b"<EnumerationResults><Blobs/></EnumerationResults>",
    "entities": b'<!DOCTYPE a [<!ENTITY b "c">]><EnumerationResults><Blobs/><NextMarker/></EnumerationResults>',
}


@pytest.mark.parametrize("case", GOOGLE)
def test_an_answer_that_google_does_not_give_proves_nothing(case: str) -> None:
    with responses.RequestsMock() as api:
        api.get("https://storage.googleapis.com/storage/v1/b/b/o", json=GOOGLE[case])
        with pytest.raises(EngineError, match="Google Cloud Storage did not list gs://b: "):
            content(EveryStore({"gs": lambda: GoogleBuckets(requests.Session)}), "gs://b")


@pytest.mark.parametrize("case", AZURE)
def test_an_answer_that_azure_does_not_give_proves_nothing(case: str) -> None:
    with responses.RequestsMock() as api:
        api.get("https://acct.blob.core.windows.net/cont", body=AZURE[case])
        with pytest.raises(EngineError, match="Azure did not list az://acct/cont: "):
            content(EveryStore({"az": lambda: AzureContainers(requests.Session)}), "az://acct/cont")


@pytest.mark.parametrize("status", [401, 403, 404, 409, 503])
def test_a_refusal_is_no_answer(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure answers 404 of an account's own too; the code alone tells that the container does not exist."""
    monkeypatch.setattr(cloud_http, "BACKOFF", replace(cloud_http.BACKOFF, sleep=lambda _: None))
    stores = EveryStore(
        {"gs": lambda: GoogleBuckets(requests.Session), "az": lambda: AzureContainers(requests.Session)}
    )
    with responses.RequestsMock(assert_all_requests_are_fired=False) as api:
        api.get(
            "https://acct.blob.core.windows.net/cont", status=status, headers={"x-ms-error-code": "ResourceNotFound"}
        )
        api.get("https://storage.googleapis.com/storage/v1/b/b/o", status=status, json={"error": {"message": "no"}})
        with pytest.raises(EngineError, match=f"HTTP {status}"):
            content(stores, "az://acct/cont")
        if status != 404:
            with pytest.raises(EngineError, match=f"HTTP {status}"):
                content(stores, "gs://b")


@pytest.mark.parametrize("damage", ["no folder", "no account", "no profile", "broken", "an address as account"])
def test_keys_of_r2_that_cannot_be_read_are_named_without_their_text(tmp_path: Path, damage: str) -> None:
    if damage != "no folder":
        r2_files(tmp_path, account="evil.example/" if damage == "an address as account" else "0123456789abcdef")
    file = tmp_path / ".cloudflare/r2.credentials"
    if damage == "no account":
        (tmp_path / ".cloudflare/accountid").unlink()
    if damage == "no profile":
        file.write_text("[default]\naws_access_key_id = test-secret\n")
    if damage == "broken":
        file.write_text("test-secret\n")
    with pytest.raises(CredentialsError, match="cloudflare") as refused:
        content(all_stores(EveryStore({}), {"HOME": str(tmp_path)}), "r2://b")
    assert "test-secret" not in str(refused.value)


def test_a_store_without_a_list_is_named() -> None:
    with pytest.raises(EngineError, match="cannot list gs://b here"):
        content(EveryStore({}), "gs://b")
