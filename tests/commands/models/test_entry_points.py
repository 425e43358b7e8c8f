"""`cvl-ci models`, `verb: models` and `upload_models`: the same words, mistakes and results, against hub and bucket."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cvl_ci import SkyPilotRunner
from cvl_ci.cli.main import main
from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.errors import CredentialsError, RequestError
from tests import golden
from tests.action.test_main import Job
from tests.support import s3
from tests.support.hub import TOKEN, Hub, HubFile, small

MESSAGES = golden.Messages(__name__)

NAME, STORAGE = "acme/tiny", f"s3://{s3.BUCKET}/hub"
FILES = {"config.json": small("{}"), "model.safetensors": HubFile(size=2 << 20, seed=3)}


@pytest.fixture
def environment(endpoint: str, hub: Hub, bucket: S3Bucket, tmp_path: Path) -> dict[str, str]:
    hub.add(NAME, FILES)
    # Without a home, the client finds no token of the person who runs the tests.
    return {**s3.s3_environment(endpoint), "HF_ENDPOINT": hub.endpoint, "HOME": str(tmp_path)}


@pytest.fixture
def terminal(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_uploads_lists_verifies_and_removes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "upload", NAME, "--to", STORAGE]) == 0
    assert "acme/tiny at" in (out := capsys.readouterr().out)
    assert "the whole model, 2.1 MB, 2.1 MB moved." in out
    assert f"{STORAGE}/models--acme--tiny/snapshots/" in out
    assert main(["models", "upload", NAME, "*.json", "--to", STORAGE]) == 0
    assert "0 bytes moved" in capsys.readouterr().out
    assert main(["models", "list", "--in", STORAGE]) == 0
    out = capsys.readouterr().out
    assert "(main): 2.1 MB, about $0.00" in out
    assert "2 files, whole, since 20" in out
    assert main(["models", "verify", NAME, "--storage", STORAGE]) == 0
    MESSAGES.check("verified", golden.line(capsys.readouterr().out, "all 2 files"))
    assert main(["models", "remove", NAME, "--in", STORAGE]) == 0
    assert main(["models", "verify", NAME, "--in", STORAGE]) == 64


@pytest.mark.usefixtures("terminal")
def test_verify_fails_for_a_changed_byte(
    model_store: ModelStore, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "upload", NAME, "--to", STORAGE]) == 0
    key = model_store.file_key(NAME, model_store.ref(NAME, "main"), "config.json")
    s3.client(endpoint).put_object(Bucket=s3.BUCKET, Key=key, Body=b"[]")
    assert main(["models", "verify", NAME, "--in", STORAGE]) == 70
    error = capsys.readouterr().err
    assert "1 of 2 files are wrong" in error
    assert "config.json has the SHA-256" in error
    assert "cvl-ci models remove acme/tiny" in error


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("words", "mistakes"),
    [
        ([], ["upload|list|verify|remove: '' is missing", "--storage: '' is missing"]),
        (["uplaod", NAME, "--to", STORAGE], ["Did you mean upload?"]),
        (["upload", "--to", "gs://x/y"], ["--to: 'gs://x/y' is not an S3 address"]),
        (["upload", "--to", STORAGE], ["REPO: '' is missing: name the model to upload"]),
        (["upload", "a/b/c", "--to", STORAGE], ["REPO: 'a/b/c' is neither OWNER/NAME"]),
        (["list", NAME, "--in", STORAGE], ["REPO: 'acme/tiny' is too much"]),
        (["verify", "./x", "--in", STORAGE], ["REPO: './x' is a folder"]),
        (["verify", NAME, "*.json", "--in", STORAGE], ["FILES...: '*.json' belongs to `upload` alone"]),
        (["upload", NAME, "--to", "s3://UPPER/x"], ["has no valid name of a bucket"]),
        (["upload", NAME, "--to", "s3://bucket/a/../b"], ["has a prefix that S3 does not store"]),
    ],
)
def test_a_mistake_is_named_before_anything_is_asked(
    words: list[str], mistakes: list[str], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *words]) == 64
    error = capsys.readouterr().err
    assert all(mistake in error for mistake in mistakes), error
    assert "No machine" not in error
    assert hub.requests == []


@pytest.mark.usefixtures("terminal")
def test_a_computer_without_the_client_of_aws_gets_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert main(["models", "list", "--in", STORAGE]) == 70
    MESSAGES.check("no client of AWS", capsys.readouterr().err)


@pytest.mark.usefixtures("terminal")
def test_an_error_of_a_list_tells_nothing_of_parts(capsys: pytest.CaptureFixture[str], hub: Hub) -> None:
    assert main(["models", "list", "--in", "s3://no-such-bucket-here/hub"]) == 70
    lines = capsys.readouterr().err.splitlines()
    MESSAGES.check("no such bucket", lines[:2])
    hub.add(NAME, FILES)
    assert main(["models", "upload", NAME, "--to", "s3://no-such-bucket-here/hub"]) == 70
    assert "Parts that an upload stored are billed" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_a_token_of_the_environment_reaches_the_hub_alone(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, FILES, is_gated=True)
    assert main(["models", "upload", NAME, "--to", STORAGE]) == 77
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    assert main(["models", "upload", NAME, "--to", STORAGE]) == 0
    shown = capsys.readouterr()
    assert TOKEN not in shown.out + shown.err
    assert set(hub.cdn_tokens) == {""}


@pytest.mark.usefixtures("terminal")
def test_a_folder_needs_no_hub(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "weights.bin").write_bytes(b"w" * 1000)
    assert main(["models", "upload", "out", "--to", STORAGE]) == 77
    assert "folder of that name here, type ./out" in capsys.readouterr().err
    hub.requests.clear()
    assert main(["models", "upload", "./out", "--to", STORAGE]) == 0
    assert "local/out at" in capsys.readouterr().out
    assert main(["models", "upload", "./out", "--to", STORAGE, "--model-name", "team/out"]) == 0
    assert main(["models", "verify", "team/out", "--in", STORAGE]) == 0
    MESSAGES.check("verified without the hub", golden.sentence(capsys.readouterr().out, "did not confirm"))
    assert hub.requests == []


def test_the_library_stores_a_model_once(environment: dict[str, str], hub: Hub, tmp_path: Path) -> None:
    notices: list[str] = []
    runner = SkyPilotRunner(checkout=tmp_path, environment=environment, on_notice=notices.append)
    stored = runner.upload_models(repo_id=NAME, files=["*.safetensors"], storage=STORAGE)
    assert (stored.moved_bytes, list(stored.manifest.files)) == (2 << 20, ["model.safetensors"])
    hub.requests.clear()
    assert runner.upload_models(NAME, files=["*.safetensors"], storage=STORAGE, revision="main").moved_bytes == 0
    assert hub.requests == [f"GET /api/models/{NAME}/revision/main"]
    assert notices[0].startswith("acme/tiny at ")
    with pytest.raises(RequestError) as error:
        runner.upload_models("a/b/c", storage="bucket/hub")
    assert [mistake.field for mistake in error.value.mistakes] == ["repo_id", "storage"]


def test_the_library_masks_a_token_in_an_error(environment: dict[str, str], tmp_path: Path) -> None:
    runner = SkyPilotRunner(checkout=tmp_path, environment={**environment, "HF_TOKEN": TOKEN})
    with pytest.raises(CredentialsError) as error:
        runner.upload_models("acme/none", storage=STORAGE)
    assert TOKEN not in str(error.value)


def test_the_action_stores_a_model_and_its_post_has_nothing_to_do(
    environment: dict[str, str], hub: Hub, tmp_path: Path
) -> None:
    hub.add(NAME, FILES, is_gated=True)
    job = Job(tmp_path)
    job.environment |= {name: value for name, value in environment.items() if name != "HOME"}
    inputs = {"INPUT_VERB": "models", "INPUT_OPERATION": "upload", "INPUT_REPO_ID": NAME, "INPUT_STORAGE": STORAGE}
    code, output = job.run("/entrypoint", **inputs, HF_TOKEN=TOKEN)
    assert code == 0, output
    assert "the whole model, 2.1 MB, 2.1 MB moved." in output
    assert TOKEN not in output.replace(f"::add-mask::{TOKEN}", "")
    assert job.run("/post-entrypoint", **inputs) == (0, "")
    code, output = job.run("/entrypoint", **{**inputs, "INPUT_STORAGE": "bucket", "INPUT_REPO_ID": ""})
    assert code == 64
    assert "storage: 'bucket' is not an S3 address" in output
