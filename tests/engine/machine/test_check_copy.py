"""The comparison of a copy with S3 on the machine: other files, and no answer, are two different endings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from cvl_ci.engine.machine import check_copy
from tests import golden

MESSAGES = golden.Messages(__name__)

MOUNTS = Path(check_copy.__file__).with_name("mounts.sh")


def test_no_answer_of_s3_is_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> int:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectsV2")

    monkeypatch.setattr(check_copy, "main", refuse)
    monkeypatch.setattr(sys, "argv", ["check_copy.py", "s3://b-b/p", "/data"])
    assert check_copy.run() == check_copy.NO_ANSWER
    [line] = capsys.readouterr().out.splitlines()
    MESSAGES.check("no answer of S3", line)
    assert "AccessDenied" in line


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (0, ["still here"]),
        (1, ["cvl-ci: /data is not the same as s3://b-b/p", "end 74 0 mounts different abcdef01"]),
        (
            check_copy.NO_ANSWER,
            ["cvl-ci: /data is not proved to be the same as s3://b-b/p", "end 74 0 mounts unproved abcdef01"],
        ),
    ],
)
def test_the_job_s_log_calls_a_copy_without_an_answer_unproved(tmp_path: Path, answer: int, said: list[str]) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nexit {answer}\n")
    program.chmod(0o755)
    shell = 'cvl_ci_end() { echo "end $*"; }\ncvl_ci_seconds_left() { echo 60; }\n'
    script = f'{shell}. "{MOUNTS}"\nset -e\ncvl_ci_check abcdef01 s3://b-b/p /data\necho still here\n'
    environment = {**os.environ, "cvl_ci_state": str(tmp_path), "cvl_ci_python": str(program)}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines() == said
    assert done.returncode == (0 if answer == 0 else 74)
    assert bool(list(tmp_path.glob("checked-*"))) is (answer == 0)
