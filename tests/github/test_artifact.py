"""What we upload, the official client lists and downloads, whatever goes wrong on the way."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cvl_ci.errors import ArtifactError
from cvl_ci.github.artifacts.http import BACKOFF
from cvl_ci.github.artifacts.upload import WorkflowArtifacts
from cvl_ci.ports import Artifacts, NotUploaded, Uploaded
from tests.peers import node
from tests.peers.results import Results, token
from tests.support.fakes import FakeClock

MIB = 1024 * 1024
MEMORY_TEST_BYTES = 192 * MIB
MOST_MEMORY_BYTES = 150 * 1000 * 1000

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]


@dataclass
class Ours:
    artifacts: Artifacts
    clock: FakeClock
    masked: list[str] = field(default_factory=list)


def ours(service: Results, **environ: str) -> Ours:
    masked, clock = list[str](), FakeClock()
    artifacts = WorkflowArtifacts(
        environ={**service.environ, **environ},
        clock=clock,
        backoff=replace(BACKOFF, chance=lambda: 0.5),
        mask=masked.append,
    )
    return Ours(artifacts=artifacts, clock=clock, masked=masked)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """More than two blocks of what cannot be told from noise, a line of text, an empty file and a nested zip."""
    root = tmp_path / "outputs"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "model.bin").write_bytes(os.urandom(20 * MIB + 17))
    (root / "deep" / "er" / "ünï.txt").write_text("accuracy 0.9\n")
    (root / "empty").touch()
    with zipfile.ZipFile(root / "deep" / "nested.zip", "w") as archive:
        archive.writestr("a", b"PK\x07\x08" * 1000)
    return root


def uploaded(done: Uploaded | NotUploaded) -> Uploaded:
    assert isinstance(done, Uploaded), done
    return done


def downloads_equal(done: Uploaded, root: Path, service: Results, into: Path) -> None:
    results = node.run("download.mjs", done.name, into, environ=service.environ)
    assert results["digestMismatch"] is False and results["digest"] == f"sha256:{done.sha256}"
    assert (results["id"], results["size"]) == (done.id, done.bytes)
    assert contents(into) == contents(root)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_official_client_downloads_what_we_uploaded(service: Results, root: Path, tmp_path: Path) -> None:
    result = uploaded(ours(service).artifacts.upload("outputs", root=root, paths=["."]))
    assert result.name == "outputs" and result.files == 4 and result.left_out == {}
    assert result.url == f"https://github.com/cvl/examples/actions/runs/77/artifacts/{result.id}"
    downloads_equal(result, root, service, tmp_path / "back")


def test_the_official_client_reads_zip64(
    service: Results, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As files of 4 GiB are written, without writing 4 GiB."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    result = uploaded(ours(service).artifacts.upload("outputs", root=root, paths=["."]))
    downloads_equal(result, root, service, tmp_path / "back")


def test_several_artifacts_of_one_run_stand_side_by_side(service: Results, root: Path) -> None:
    own = ours(service)
    names = [
        uploaded(own.artifacts.upload(name, root=root, paths=["empty"])).name
        for name in ("train-L4, aws/us-east-1-log", "train-L4, aws/us-east-1", "train-T4-log", "train-T4")
    ]
    assert len(set(names)) == 4
    results = node.run("download.mjs", names[1], root.parent / "back", environ=service.environ)
    assert sorted(str(item) for item in _list(results["names"])) == sorted(names)


def test_act_s_server_gets_one_block_after_the_other(service: Results, root: Path, tmp_path: Path) -> None:
    result = uploaded(ours(service, ACT="true").artifacts.upload("outputs", root=root, paths=["."]))
    assert service.most_at_once == 1
    downloads_equal(result, root, service, tmp_path / "back")


def test_only_the_block_that_was_lost_is_sent_again(service: Results, root: Path, tmp_path: Path) -> None:
    service.faults.dropped_blocks = 1
    service.faults.troubled_blocks = 1
    own = ours(service)
    result = uploaded(own.artifacts.upload("outputs", root=root, paths=["."]))
    blocks = [item for item in service.seen if item.startswith("PUT block ")]
    assert len(set(blocks)) == 3 and len(blocks) == 5
    downloads_equal(result, root, service, tmp_path / "back")


def test_a_service_in_trouble_is_asked_again_after_a_growing_pause(service: Results, root: Path) -> None:
    service.faults.troubled, service.faults.not_json = 3, 1
    own = ours(service)
    start = own.clock.now()
    uploaded(own.artifacts.upload("outputs", root=root, paths=["empty"]))
    assert service.seen.count("POST CreateArtifact") == 5
    assert own.clock.now() - start == pytest.approx(sum(3 * 1.5**n * 1.25 for n in range(4)), abs=0.01)


def test_a_service_that_stays_in_trouble_is_given_up_and_says_that_the_files_are_there(
    service: Results, root: Path
) -> None:
    service.faults.troubled = 99
    with pytest.raises(
        ArtifactError, match=r"CreateArtifact failed 5 times: answer 503\.\nThe files are still"
    ) as error:
        ours(service).artifacts.upload("outputs", root=root, paths=["."])
    assert_silent(error.value)


def test_a_block_that_never_arrives_ends_the_upload_without_a_word_of_the_signature(
    service: Results, root: Path
) -> None:
    service.faults.dropped_blocks = 99
    own = ours(service)
    with pytest.raises(ArtifactError, match=r"Block \d (failed 5 times: ConnectionError|was given up)") as error:
        own.artifacts.upload("outputs", root=root, paths=["."])
    assert_silent(error.value)
    assert "POST FinalizeArtifact" not in service.seen


def assert_silent(error: BaseException) -> None:
    """Neither the exception nor what led to it holds a signature, a token or a URL."""
    chain: BaseException | None = error
    while chain is not None:
        assert "sig=" not in repr(chain) and token() not in repr(chain) and "http" not in repr(chain)
        chain = chain.__cause__ or chain.__context__


def test_a_name_that_is_taken_is_counted_on(service: Results, root: Path) -> None:
    names = [uploaded(ours(service).artifacts.upload("logs", root=root, paths=["empty"])).name for _ in range(3)]
    assert names == ["logs", "logs-2", "logs-3"]


def test_a_used_up_quota_fails_nobody(service: Results, root: Path) -> None:
    service.faults.quota = True
    own = ours(service)
    result = [own.artifacts.upload(name, root=root, paths=["empty"]) for name in ("logs", "cost")]
    assert all(isinstance(item, NotUploaded) and "used up" in item.reason for item in result)
    assert service.seen == ["POST CreateArtifact"] * 2


def test_retention_is_what_was_asked_but_no_more_than_the_repository_allows(service: Results, root: Path) -> None:
    own = ours(service, GITHUB_RETENTION_DAYS="10")
    result = uploaded(own.artifacts.upload("logs", root=root, paths=["empty"], retention_days=90))
    assert service.artifacts[result.name].expires_at == "2027-01-25T08:00:00Z"  # ten days after the fake clock's now
    unlimited = uploaded(own.artifacts.upload("cost", root=root, paths=["empty"]))
    assert service.artifacts[unlimited.name].expires_at is None


def test_every_secret_is_masked_before_it_is_used(service: Results, root: Path) -> None:
    own = ours(service)
    result = uploaded(own.artifacts.upload("logs", root=root, paths=["empty"]))
    raw = service.artifacts[result.name].query.partition("sig=")[2]
    assert own.masked[0] == token() and raw in own.masked
    assert any("%" not in item and item not in (token(), raw) for item in own.masked) or "%" not in raw


def test_no_secret_is_logged_even_when_everything_is(
    service: Results, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.faults.dropped_blocks = 1
    uploaded(ours(service).artifacts.upload("logs", root=root, paths=["."]))
    assert "sig=" not in caplog.text and token() not in caplog.text


def test_a_large_file_takes_constant_memory(service: Results, tmp_path: Path) -> None:
    """Sparse, so that nothing is written to a disk; 5 GB by `python -m tests.bench.artifact --gigabytes 5`."""
    large = tmp_path / "large"
    large.mkdir()
    with (large / "checkpoint.pt").open("wb") as file:
        file.truncate(MEMORY_TEST_BYTES)
    result = subprocess.run(
        [sys.executable, "-m", "tests.bench.upload", "large", large],
        env={**service.environ, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    document = json.loads(result.stdout)
    assert document["bytes"] > MEMORY_TEST_BYTES
    assert document["peak_rss_bytes"] < MOST_MEMORY_BYTES


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
