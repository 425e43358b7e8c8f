"""`cvl-ci prices update` against a local server: commit and day, GitHub's limit, answers that are not a catalogue."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from cvl_ci.clouds.catalogue import sources, update
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from tests.clouds.catalogue import files

COMMIT = "00148f2af3672e2229b4f7bf8157d5a3f36e3c35"
TODAY = date(2026, 9, 28)
ROOT = Path(__file__).parents[3]
PROGRAM = Path(sys.executable).with_name("cvl-ci")
Answers = dict[str, tuple[int, bytes]]


@contextmanager
def serving(answers: Answers) -> Iterator[tuple[update.Addresses, list[str]]]:
    questions: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path + "".join(f"?{value}" for value in parse_qs(parts.query).get("path", []))
            questions.append(path)
            status, content = answers.get(path, (404, b"not here"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    try:
        yield update.Addresses(raw=f"{root}/raw", mirror=f"{root}/mirror", commits=f"{root}/commits"), questions
    finally:
        server.shutdown()
        server.server_close()


def commits(day: str = "2026-09-27T03:04:05Z") -> bytes:
    return json.dumps([{"sha": COMMIT, "commit": {"committer": {"date": day}}}]).encode()


AWS_FILE = f"/raw/{COMMIT}/catalogs/v8/aws/vms.csv"
COMMITS = "/commits?catalogs/v8/aws/vms.csv"


def test_a_file_comes_with_its_commit_and_its_day(tmp_path: Path) -> None:
    answers: Answers = {
        COMMITS: (200, commits()),
        AWS_FILE: (200, files.AWS.encode()),
        "/raw/master/catalogs/v8/common/accelerators.csv": (200, b"AcceleratorName,Clouds\n"),
    }
    with serving(answers) as (addresses, _):
        (aws,) = update.update(tmp_path, ["aws"], today=TODAY, addresses=addresses)
    assert (aws.error, aws.day, aws.commit) == ("", date(2026, 9, 27), COMMIT)
    assert aws.machines == 6
    prices = CataloguePrices(tmp_path, today=TODAY)
    assert prices.date_of(["aws"]) == "SkyPilot's catalogue of 2026-09-27 (aws 00148f2)"
    assert (tmp_path / "common/accelerators.csv").exists()
    digest = (tmp_path / ".meta/aws/vms.csv.md5").read_text()
    assert digest == hashlib.md5((tmp_path / "aws/vms.csv").read_bytes(), usedforsecurity=False).hexdigest()
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "no temporary file stays"


def test_over_githubs_limit_the_mirror_answers_and_the_day_is_that_of_the_download(tmp_path: Path) -> None:
    answers: Answers = {
        COMMITS: (200, commits()),
        AWS_FILE: (429, b"slow down"),
        "/mirror/catalogs/v8/aws/vms.csv": (200, files.AWS.encode()),
    }
    with serving(answers) as (addresses, _):
        (aws,) = update.update(tmp_path, ["aws"], today=TODAY, addresses=addresses)
    assert (aws.error, aws.day, aws.commit) == ("", TODAY, "")


@pytest.mark.parametrize("listing", [(403, b"rate limit"), (200, b"[]"), (200, b"<html>"), (200, b'[{"sha": 1}]')])
def test_without_a_list_of_commits_the_newest_file_counts(tmp_path: Path, listing: tuple[int, bytes]) -> None:
    answers: Answers = {COMMITS: listing, "/raw/master/catalogs/v8/aws/vms.csv": (200, files.AWS.encode())}
    with serving(answers) as (addresses, _):
        (aws,) = update.update(tmp_path, ["aws"], today=TODAY, addresses=addresses)
    assert (aws.error, aws.day, aws.commit) == ("", TODAY, "")


@pytest.mark.parametrize(
    "answer",
    [
        (404, b"not found"),
        (302, b""),
        (200, b""),
        (200, b"<html>a proxy's page</html>"),
        (200, b"InstanceType,Price\nx,1\n"),
        (200, files.AWS.replace("0.7,", "cheap,").encode()),
        (200, files.AWS.partition("g6f")[0].encode()),
    ],
)
def test_an_answer_that_is_not_a_catalogue_changes_nothing(tmp_path: Path, answer: tuple[int, bytes]) -> None:
    before = files.write(tmp_path, "aws", files.AWS).read_bytes()
    with serving({COMMITS: (200, commits()), AWS_FILE: answer}) as (addresses, questions):
        (aws,) = update.update(tmp_path, ["aws"], today=TODAY, addresses=addresses)
    assert aws.error
    assert (tmp_path / "aws/vms.csv").read_bytes() == before
    assert sources.record(tmp_path) == {}
    assert len(questions) == 2, "nothing else is fetched after a failure of all"


def test_without_a_connection_only_the_first_cloud_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt may take a whole time-out, and a build of the image waits for all of them."""
    with serving({}) as (addresses, _):
        pass
    tried: list[str] = []

    def refuse(*_: object, **__: object) -> tuple[bytes, bool]:
        tried.append("file")
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(update, "_content", refuse)
    results = update.update(tmp_path, ["aws", "gcp", "azure"], today=TODAY, addresses=addresses)
    assert [bool(one.error) for one in results] == [True, True, True]
    assert tried == ["file"]


@pytest.mark.parametrize(("how", "has_it"), [("fetch", True), ("none", False), ("unreachable", False)])
def test_the_image_has_the_catalogue_where_the_network_allows_and_is_built_in_any_case(
    tmp_path: Path, how: str, has_it: bool
) -> None:
    """The line of the Dockerfile itself, with the folders and the program of this test."""
    stage = (ROOT / "Dockerfile").read_text().partition(" AS catalogue\n")[2].partition("\nFROM ")[0]
    line = stage.partition("\nRUN ")[2]
    for name, own in {"/opt/cvl-ci/own/bin/cvl-ci": f"{PROGRAM}", "/opt/cvl-ci": f"{tmp_path}"}.items():
        assert name in line
        line = line.replace(name, own)
    answers = {f"/catalogs/v8/{cloud}/vms.csv": (200, files.AWS.encode()) for cloud in CataloguePrices().clouds()}
    answers = {f"/master{path}": answer for path, answer in answers.items()}
    with serving(answers) as (addresses, request):
        root = "http://127.0.0.1:9" if how == "unreachable" else addresses.raw.removesuffix("/raw")
        variables = {"CATALOGUE": how, "CVL_CI_CATALOGUE_URL": root, "PATH": os.environ["PATH"]}
        subprocess.run(["sh", "-ec", line], env=variables, check=True, capture_output=True, timeout=120)
    image = tmp_path / "catalogs/v8"
    assert image.is_dir()
    assert bool(request) is has_it
    assert [source.is_dated for source in [sources.source("aws", [image])]] == [has_it]


def test_one_cloud_that_fails_leaves_the_others(tmp_path: Path) -> None:
    answers: Answers = {COMMITS: (200, commits()), AWS_FILE: (200, files.AWS.encode())}
    with serving(answers) as (addresses, _):
        aws, gcp = update.update(tmp_path, ["aws", "gcp"], today=TODAY, addresses=addresses)
    assert aws.error == ""
    assert "404" in gcp.error
