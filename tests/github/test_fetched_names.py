"""A whole run of the action whose machine names files in ways that are not text: everything is still published."""

from __future__ import annotations

import http.client
import io
import json
import os
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.action.test_main import Job
from tests.github.runner import Runner
from tests.peers.results import ACCOUNT, Results, signature

STEM = "cvl-train-L4-attempt2"


def _pack(folder: Path, *names: bytes) -> None:
    (folder / "0").mkdir(parents=True)
    with tarfile.open(folder / "0" / "root.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(os.fsdecode(name))
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))


def _entries(service: Results, number: int) -> list[str]:
    with closing(http.client.HTTPConnection("127.0.0.1", service.azurite, timeout=60)) as connection:
        connection.request("GET", f"/{ACCOUNT}/artifacts/{number}.zip?{signature(sp='r')}")
        content = connection.getresponse().read()
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


@pytest.mark.parametrize(("exit_code", "ending"), [(0, "succeeded"), (7, "failed")])
def test_a_name_that_is_not_utf_8_ends_no_run_and_hides_no_failure(
    tmp_path: Path, service: Results, exit_code: int, ending: str
) -> None:
    job = Job(tmp_path)
    _pack(tmp_path / "archives", b"./caf\xe9.txt", b"./metrics.json", b"./\xff\xfe/\xed\xa0\x80.pt")
    values = {"STAGE_ARCHIVES": str(tmp_path / "archives"), "STAGE_EXIT": str(exit_code), **service.environ}
    code, printed = job.run("/entrypoint", **values)
    assert code == exit_code, printed
    assert (job.outputs()["ending"], job.outputs()["exit_code"]) == (ending, str(exit_code))
    assert "caf%E9.txt" in job.summary()
    [cost] = job.workspace.glob("cvl-outputs/*.json")
    assert "caf%E9.txt" in cost.read_text()
    assert json.loads(cost.read_text())["exit_code"] == exit_code
    assert set(service.artifacts) == {f"{STEM}{kind}" for kind in ("", "-cost", "-log", "-checkpoints")}
    assert _entries(service, service.artifacts[f"{STEM}-checkpoints"].number) == ["%FF%FE/%ED%A0%80.pt"]
    outputs = service.artifacts[STEM]
    assert sorted(_entries(service, outputs.number)) == ["caf%E9.txt", "metrics.json"]
    assert Runner().read(printed).stopped_by == ""
    code, printed = job.run("/post-entrypoint", **values)
    assert (code, printed) == (0, "")


def test_a_file_that_lies_in_the_outputs_under_such_a_name_is_uploaded_too(tmp_path: Path, service: Results) -> None:
    """A checkout may hold it, and a file system may have made it: no archive named it."""
    job = Job(tmp_path)
    job.run("/entrypoint", **service.environ)
    [folder] = [path for path in job.workspace.glob("cvl-outputs/*") if path.is_dir()]
    (job.folder / "home").rename(tmp_path / "home of a runner that is gone")
    job = Job(tmp_path)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("x")
    code, printed = job.run("/entrypoint", STAGE_EXIT="7", **service.environ)
    assert code == 7, printed
    assert job.outputs()["ending"] == "failed"
    entries = _entries(service, service.artifacts[f"{STEM}-2"].number)
    assert sorted(entries) == ["caf_.txt", "metrics.json"]
