"""Credentials as the action's inputs, in processes: masked first, written for the job's life, removed by post."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.action.test_main import Job
from tests.clouds.credentials import peers
from tests.clouds.credentials.machine import ROLE
from tests.github.runner import Runner

KEYS = {"INPUT_AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "INPUT_AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENG"}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose HOME holds no credentials of anybody."""
    job = Job(tmp_path)
    (tmp_path / "home/.aws/credentials").unlink()
    (tmp_path / "home/.aws").rmdir()
    job.environment["AWS_EC2_METADATA_DISABLED"] = "true"
    return job


def ours(job: Job) -> list[str]:
    folder = job.folder / "home/.local/state/cvl-ci/credentials"
    return sorted(path.name for path in folder.rglob("*"))


def killed(job: Job, given: dict[str, str]) -> str:
    """main, killed while the job ran: what it had said."""
    job.environment |= given
    process = job.hung_at("follow")
    process.kill()
    said, _ = process.communicate(timeout=60)
    return said


def test_without_credentials_nothing_is_started_and_all_that_is_missing_is_told(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_CLOUD="aws,lambda", INPUT_ROLE_TO_ASSUME=ROLE)
    assert code == 77
    assert "aws: GitHub's OIDC token" in said.replace("%0A", "\n")
    assert "lambda: any credentials" in said.replace("%0A", "\n")
    assert "id-token: write" in said
    assert job.steps() == []
    assert job.run("/post-entrypoint")[0] == 0


def test_keys_given_as_inputs_are_used_masked_and_removed_by_post(job: Job) -> None:
    code, said = job.run("/entrypoint", **KEYS)
    assert code == 0, said
    masked = [value for name, _, value in Runner().read(said).obeyed if name == "add-mask"]
    assert {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENG"} <= set(masked)
    assert ours(job) == ["skypilot.yaml", "written.json"]
    assert job.run("/post-entrypoint", **KEYS) == (0, "")
    assert ours(job) == []


def test_a_role_s_keys_are_masked_when_they_are_minted_and_post_mints_its_own(job: Job) -> None:
    with peers.github() as (variables, asked), peers.aws() as endpoint:
        given = {"INPUT_ROLE_TO_ASSUME": ROLE, **variables, **endpoint}
        said = killed(job, given)
        masked = [value for name, _, value in Runner().read(said).obeyed if name == "add-mask"]
        assert [value for value in masked if value.startswith("ASIA")]
        assert "aws-session.json" in ours(job)
        (job.folder / "home/.local/state/cvl-ci/credentials/aws-session.json").write_text("{}")
        code, said = job.run("/post-entrypoint", **given)
    assert code == 0, said
    assert asked == ["sts.amazonaws.com"] * 2
    assert job.alive() == []
    assert ours(job) == []


def test_a_remote_api_server_needs_its_token_alone_and_no_cloud_s_keys(job: Job) -> None:
    given = {"INPUT_SKYPILOT_API_SERVER_ENDPOINT": "https://sky", "INPUT_SKYPILOT_SERVICE_ACCOUNT_TOKEN": "sky_012345"}
    code, said = job.run("/entrypoint", **given)
    assert code == 0, said
    masked = [value for name, _, value in Runner().read(said).obeyed if name == "add-mask"]
    assert "sky_012345" in masked
    assert "skypilot.yaml" not in ours(job)


def test_half_of_a_remote_api_server_is_refused_and_not_passed_over(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_SKYPILOT_API_SERVER_ENDPOINT="https://sky", **KEYS)
    assert code == 77
    assert "api-server: a token missing" in said
    assert job.steps() == []


def test_nothing_is_written_for_the_sandbox_or_for_a_plan(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_VERB="plan", INPUT_LAMBDA_API_KEY="key_0123456789", **KEYS)
    assert code == 0, said
    assert ours(job) == []


def test_a_key_for_a_cloud_that_is_not_in_use_is_not_written(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_LAMBDA_API_KEY="key_0123456789", **KEYS)
    assert code == 0, said
    assert not (job.folder / "home/.lambda_cloud").exists()


def test_post_goes_on_without_credentials_and_says_that_nothing_is_proved(job: Job) -> None:
    with peers.github() as (variables, _), peers.aws() as endpoint:
        given = {"INPUT_ROLE_TO_ASSUME": ROLE, **variables, **endpoint}
        killed(job, given)
    code, said = job.run("/post-entrypoint", STAGE_SILENT="1", **given)
    assert code == 79, said
    assert "OIDC token" in said
    assert ours(job) == []
