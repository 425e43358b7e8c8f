"""A role by GitHub's OIDC token, through the real botocore: found, kept, and assumed again before its keys expire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds import credentials as cloud_credentials
from cvl_ci.clouds import oidc
from cvl_ci.clouds.aws import worker_role
from cvl_ci.errors import CredentialsError
from tests.clouds.credentials import peers
from tests.clouds.credentials.machine import ROLE

LATER = """
import datetime, json, sys
import botocore.session
session = botocore.session.Session()
found = session.get_credentials()
first = found.get_frozen_credentials()
real = found._time_fetcher
found._time_fetcher = lambda: real() + datetime.timedelta(minutes=int(sys.argv[1]))
open(sys.argv[2], "w").write("{}")  # what is kept has grown old as well
second = found.get_frozen_credentials()
sts = session.create_client("sts", region_name="us-east-1")
print(json.dumps([found.method, first.access_key, second.access_key, sts.get_caller_identity()["Arn"]]))
"""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """A job's environment, and the audiences that GitHub was asked for."""
    with peers.github() as (variables, request), peers.aws() as endpoint:
        yield (
            {
                "HOME": str(tmp_path),
                "PATH": os.environ["PATH"],
                "INPUT_ROLE_TO_ASSUME": ROLE,
                "GITHUB_RUN_ID": "42",
                "AWS_ACCESS_KEY_ID": "of-somebody-else",
                "AWS_SECRET_ACCESS_KEY": "of-somebody-else",
                **variables,
                **endpoint,
            },
            request,
        )


def written(environ: dict[str, str], tmp_path: Path) -> tuple[Any, dict[str, str]]:
    place = cloud_credentials.local_environment(environ, folder=tmp_path / "ours", writes=True)
    return place, cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["aws"]))


def later(environ: dict[str, str], *, minutes: int, cache: Path) -> list[str]:
    words = [sys.executable, "-c", LATER, str(minutes), str(cache)]
    result = subprocess.run(words, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    document: list[str] = json.loads(result.stdout)
    return document


def test_botocore_assumes_the_role_by_itself_and_again_before_its_keys_expire(
    job: tuple[dict[str, str], list[str]], tmp_path: Path
) -> None:
    environ, request = job
    place, known = written(environ, tmp_path)
    cache = place.folder / "aws-session.json"
    method, first, second, arn = later(known, minutes=50, cache=cache)
    assert method == "custom-process"
    assert first != second
    assert arn == "arn:aws:sts::123456789012:assumed-role/ci/cvl-ci-42"
    assert request == ["sts.amazonaws.com"] * 2


def test_keys_that_live_long_enough_are_not_asked_for_again(
    job: tuple[dict[str, str], list[str]], tmp_path: Path
) -> None:
    environ, requests = job
    place, known = written(environ, tmp_path)
    _, first, second, _ = later(known, minutes=30, cache=place.folder / "aws-session.json")
    assert first == second
    assert len(requests) == 1


def test_the_first_keys_are_had_before_anything_is_spent_and_are_those_that_processes_get(
    job: tuple[dict[str, str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, requests = job
    monkeypatch.setenv("AWS_ENDPOINT_URL", environ["AWS_ENDPOINT_URL"])
    place, known = written(environ, tmp_path)
    key, secret, token = cloud_credentials.first_keys(place, known)
    assert all((key, secret, token))
    assert later(known, minutes=1, cache=place.folder / "elsewhere")[1] == key
    assert len(requests) == 1
    assert (place.folder / "aws-session.json").stat().st_mode & 0o777 == 0o600


def test_what_is_kept_is_given_only_while_it_outlives_botocores_patience(
    job: tuple[dict[str, str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, requests = job
    monkeypatch.setenv("AWS_ENDPOINT_URL", environ["AWS_ENDPOINT_URL"])
    start = datetime.now(timezone.utc)

    def at(minutes: int) -> str:
        result = worker_role.keys(
            ROLE, cache=tmp_path / "kept", session="cvl-ci", environ=environ, now=start + timedelta(minutes=minutes)
        )
        return str(result["AccessKeyId"])

    first = at(0)
    assert at(39) == first
    assert at(41) != first
    assert len(requests) == 2


def test_a_job_without_the_token_is_told_what_to_allow() -> None:
    with pytest.raises(CredentialsError, match="id-token: write"):
        oidc.id_token({}, "sts.amazonaws.com")


def test_a_token_that_github_refuses_is_told_without_the_request_token() -> None:
    with peers.github() as (variables, _):
        wrong = {**variables, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "wrong-token"}
        with pytest.raises(CredentialsError, match="401") as raised:
            oidc.id_token(wrong, "sts.amazonaws.com")
    assert "wrong-token" not in str(raised.value)


def test_a_role_that_does_not_trust_this_job_is_told_with_where_to_look(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-m", "cvl_ci.clouds.aws.worker_role", ROLE, str(tmp_path / "kept"), "s"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert result.stdout == ""
    assert "id-token: write" in result.stderr
