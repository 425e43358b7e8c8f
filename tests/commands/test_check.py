"""check: one table, every wrong name at once, and an exit code that a script can go by."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvl_ci.commands import check
from cvl_ci.errors import RequestError
from cvl_ci.model.access import CloudAccess
from tests import golden
from tests.support.processor import children_seconds, within

LOOKS = (
    CloudAccess(cloud="aws", available=("an access key",)),
    CloudAccess(
        cloud="gcp",
        missing=("any credentials", "the program `gcloud`"),
        takes=("in a terminal `gcloud init`", "install the Google Cloud CLI"),
    ),
    CloudAccess(
        cloud="lambda",
        available=("the key in ~/.lambda_cloud/lambda_keys",),
        notes=("its key is copied to the machine, which needs it to end itself",),
        unsupported="a way to ask it whether a machine is gone, which is not built yet",
    ),
)


def test_it_reads_as_it_should() -> None:
    golden.check("check.txt", check.as_text(LOOKS, width=120) + "\n")


@pytest.mark.parametrize("width", [20, 80, 200])
def test_every_word_is_in_the_table_however_narrow(width: int) -> None:
    text = "".join(check.as_text(LOOKS, width=width).split())
    assert all(word in text for word in ("lambda", "gcloud"))
    assert width < 80 or all(len(line) <= width for line in check.as_text(LOOKS, width=width).splitlines())


def test_all_named_clouds_must_be_usable_and_one_where_none_is_named() -> None:
    assert check.exit_code(LOOKS, named=False) == 0
    assert check.exit_code(LOOKS, named=True) == 77
    assert check.exit_code(LOOKS[:1], named=True) == 0
    assert check.exit_code(LOOKS[1:], named=False) == 77


def test_names_that_are_no_clouds_are_all_told() -> None:
    with pytest.raises(RequestError, match=r"(?s)awz.*Did you mean aws.*gpc"):
        check.named_clouds(["awz", "gcp,gpc"], ["aws", "gcp"])
    assert check.named_clouds([], ["aws", "gcp"]) == ["aws", "gcp"]
    assert check.named_clouds(["GCP,aws", "aws"], ["aws", "gcp"]) == ["gcp", "aws"]


def test_it_is_instant_and_loads_neither_sky_nor_boto3(tmp_path: Path) -> None:
    program = (
        "import sys; from cvl_ci.cli import main as cli; code = cli.main(['check'])\n"
        "print(code, *sorted({'sky', 'boto3', 'requests', 'github', 'google.auth'} & {*sys.modules}))"
    )
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
    worked = []
    for _ in range(3):  # the first may compile byte code
        before = children_seconds()
        done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
        worked.append(children_seconds() - before)
        assert done.stdout.splitlines()[-1] == "77"
        assert done.stdout.splitlines()[0].split()[:2] == ["cloud", "runs"]
    assert within(min(worked), 1)


def test_a_terminal_s_keys_make_aws_usable_and_are_not_shown(tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENG"}
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **keys}
    program = [sys.executable, "-m", "cvl_ci.cli.main"]
    words = [
        *program[:1],
        "-c",
        "import sys; from cvl_ci.cli.main import main; sys.exit(main(sys.argv[1:]))",
        "check",
        "aws",
    ]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not any(value in done.stdout + done.stderr for value in keys.values())
    assert list(tmp_path.glob(".*")) == []
