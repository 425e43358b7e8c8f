"""The real text of a detached job on one computer: its place is tried first, and its results hold no secret."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.engine.fetch.detached_results import StoredResults
from cvl_ci.engine.machine import detached as detached_program
from cvl_ci.engine.sky_errors import read_end
from cvl_ci.engine.task import script
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import CheckpointPlan
from cvl_ci.model.detached import DetachPlan
from cvl_ci.model.node_end import RESULTS, NodeEnd
from cvl_ci.model.outcome import Ending
from cvl_ci.model.plan import FilePlan, RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.secret import Secret
from cvl_ci.result.conclusion import conclude
from tests.engine.fetch.test_detached_results import DETACHED
from tests.engine.task.test_script import LEASE, Node
from tests.support import probed, s3

PLACE = BucketAddress(bucket=s3.BUCKET, prefix="ci")
OF_RUN = BucketAddress(bucket=s3.BUCKET, prefix=f"ci/{LEASE}")
TOKEN, API_KEY = "hf_correct-horse-battery-staple", "spell-of-the-second-kind"
ANOTHER = {
    "AWS_ACCESS_KEY_ID": "another-account",
    "AWS_PROFILE": "another",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_REGION": "eu-west-1",
}
"""A job's own variables for another account, at which no bucket answers."""
PLAN = RunPlan(
    title="it",
    work=WorkPlan(
        run_commands=("echo at $AWS_ENDPOINT_URL; echo $TOKEN; echo $TOKEN | base64; echo $API_KEY; exit 3",)
    ),
    files=FilePlan(outputs=("out/**",)),
    variables=VariablePlan(
        env={**ANOTHER, "API_KEY": API_KEY},
        secrets={"TOKEN": Secret(TOKEN), "AWS_SECRET_ACCESS_KEY": Secret("of-another-account")},
    ),
    detach=DetachPlan(place=PLACE),
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3.moto() as address:
        yield address


class Machine(Node):
    """A machine whose identity stands in its HOME, as a role does elsewhere. It ends itself in a file."""

    def __init__(self, home: Path, endpoint: str) -> None:
        super().__init__(home)
        (home / ".aws").mkdir()
        lines = f"endpoint_url = {endpoint}\naws_access_key_id = own\naws_secret_access_key = own\n"
        (home / ".aws/config").write_text(f"[default]\nregion = us-east-1\n{lines}")
        self.ended = home / "ended"
        self.sudo = home / "programs/own-sudo"
        self.sudo.write_text(f'#!/bin/sh\necho "$@" > {self.ended}.new && mv {self.ended}.new {self.ended}\n')
        self.sudo.chmod(0o755)
        python = home / "programs/python3"  # with boto3, as SkyPilot has it on AWS; sh would drop functions
        python.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)

    def detached_job(self, plan: RunPlan) -> str:
        """Run setup and job as SkyPilot does, and return what they print. Nothing here calls the real sudo."""
        secrets = {name: secret.reveal() for name, secret in plan.variables.secrets.items()}
        values = {**script.environment(plan, lease=LEASE, deadline=time.time() + 3600), **secrets}
        printed = ""
        for text in (script.setup(plan), script.run(plan, lease=LEASE)):
            if text is not None and not (self.state / "end").exists():
                assert not any(secret in text for secret in secrets.values())
                file = self.home / "script.sh"  # as SkyPilot's own: it is too long for an argument
                file.write_text(self._quick(text))
                done = self.run(f"exec bash {file}", values)
                printed += done.stdout + done.stderr
        return printed

    def managed_job(self, plan: RunPlan, *, deadline: float | None = None) -> str:
        """Run the job as a controller of SkyPilot has it run, and return what it prints."""
        secrets = {name: secret.reveal() for name, secret in plan.variables.secrets.items()}
        until = time.time() + 3600 if deadline is None else deadline
        values = {**script.environment(plan, lease=LEASE, deadline=until), **secrets}
        file = self.home / "script.sh"
        file.write_text(self._quick(script.run(plan, lease=LEASE, with_setup=True)))
        environment = {"HOME": str(self.home), "PATH": self.path, **values}
        words = ["bash", str(file)]
        done = subprocess.run(
            words, cwd=self.workdir, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        return done.stdout + done.stderr

    def _quick(self, text: str) -> str:
        for old, new in {
            '"sudo", "-n"': f'"{self.sudo}"',
            "LINGER_SECONDS = 60.0": "LINGER_SECONDS = 0.0",
            "REFUSED_AT_FIRST_SECONDS = 180.0, 30.0": "REFUSED_AT_FIRST_SECONDS = 180.0, 0.0",
        }.items():
            assert old in text
            text = text.replace(old, new)
        return probed.briefly(text)

    def wait_for_its_end(self) -> None:
        until = time.monotonic() + 120
        while not self.ended.exists():
            assert time.monotonic() < until, (self.state / "detached/log").read_text()
            time.sleep(0.1)


def test_a_job_for_another_account_stores_log_end_and_checkpoints_by_the_machine_s_identity_without_secrets(
    endpoint: str, tmp_path: Path
) -> None:
    s3.empty(endpoint)
    machine, bucket = Machine(tmp_path / "node", endpoint), s3.client(endpoint)
    checkpoints = CheckpointPlan(globs=("step-*",), place=BucketAddress(bucket=s3.BUCKET, prefix="c"), folder="w/r")
    stores = replace(PLAN.work, run_commands=("mkdir step-1; echo 1 > step-1/w", *PLAN.work.run_commands))
    printed = machine.detached_job(replace(PLAN, work=stores, checkpoints=checkpoints))
    assert "stored step-1" in printed, printed
    assert f"at {ANOTHER['AWS_ENDPOINT_URL']}" in printed, "the job has its own variables"
    machine.wait_for_its_end()
    assert machine.ended.read_text().startswith("shutdown"), "no timer of root is armed on this computer"

    results = StoredResults(lambda name: S3Bucket(bucket, name), environment={"PATH": machine.path})
    end = results.end(OF_RUN)
    assert end is not None and (end.node.exit_code, end.problem) == (3, "")
    lines: list[str] = []
    results.fetch(replace(DETACHED, place=OF_RUN), end, into=tmp_path / "into", line=lines.append)
    assert "***" in lines
    stored = {key: body for key, body in contents(bucket) if key.startswith(OF_RUN.prefix)}
    assert f"{OF_RUN.prefix}/{detached_program.TRIED}" in stored
    for form in (TOKEN, API_KEY, base64.b64encode(TOKEN.encode()).decode()[:-4]):
        assert form in printed, "the run masks its own log"
        assert not any(form.encode() in body for body in stored.values())
        assert not any(form in line for line in lines)


def contents(bucket: Any) -> Iterator[tuple[str, bytes]]:
    for one in bucket.list_objects_v2(Bucket=s3.BUCKET)["Contents"]:
        yield one["Key"], bucket.get_object(Bucket=s3.BUCKET, Key=one["Key"])["Body"].read()


@pytest.mark.parametrize("setup", [(), ("touch set-up",)], ids=["without-setup", "with-setup"])
def test_a_place_that_refuses_results_ends_the_run_before_setup_and_job(
    endpoint: str, tmp_path: Path, setup: tuple[str, ...]
) -> None:
    machine = Machine(tmp_path / "node", endpoint)
    work = WorkPlan(run_commands=("touch ran",), setup_commands=setup)
    plan = replace(PLAN, work=work, detach=DetachPlan(place=BucketAddress(bucket="my-bucekt", prefix="ci")))
    printed = machine.detached_job(plan)
    assert "cannot store results in s3://my-bucekt" in printed and "s3:PutObject" in printed, printed
    assert "NoSuchBucket" in printed and script.JOB_BEGINS not in printed
    assert not (machine.workdir / "set-up").exists() and not (machine.workdir / "ran").exists()
    end = read_end(0, machine.run(script.end(lease=LEASE), {}).stdout)
    assert (end.exit_code, end.phase) == (75, RESULTS)


def test_the_conclusion_of_such_a_run_is_the_storage_and_names_bucket_and_right() -> None:
    judged = conclude(
        plan=PLAN,
        launch=None,
        nodes=(NodeEnd(rank=0, exit_code=75, phase=RESULTS),),
        lost=None,
        release=None,
        failure=None,
        cancelled=False,
        attempts=(),
        ran_seconds=1.0,
    )
    assert (judged.ending, judged.exit_code) == (Ending.STORAGE_FAILED, 70)
    assert str(PLACE) in judged.reason and "s3:PutObject" in judged.advice and s3.BUCKET in judged.advice


def test_the_variable_names_no_value_of_a_secret() -> None:
    variables = script.environment(PLAN, lease=LEASE, deadline=0.0)
    assert json.loads(variables["CVL_CI_DETACHED"])["hides"] is True
    assert TOKEN not in json.dumps(variables)


@pytest.mark.timeout(600)
def test_a_managed_job_stores_its_results_before_its_shell_ends_and_another_machine_does_not_run_it_again(
    endpoint: str, tmp_path: Path
) -> None:
    s3.empty(endpoint)
    bucket = s3.client(endpoint)
    work = WorkPlan(setup_commands=("echo set up; test ! -e broken",), run_commands=("echo hello; exit 3",))
    plan = replace(PLAN, work=work, detach=DetachPlan(place=PLACE, is_managed=True))
    first = Machine(tmp_path / "first", endpoint)
    printed = first.managed_job(plan)
    results = StoredResults(lambda name: S3Bucket(bucket, name), environment={"PATH": first.path})
    end = results.end(OF_RUN)
    assert end is not None and (end.node.exit_code, end.node.phase) == (3, "running"), printed
    assert not first.ended.exists(), "its controller ends it"
    lines: list[str] = []
    results.fetch(replace(DETACHED, place=OF_RUN), end, into=tmp_path / "into", line=lines.append)
    assert [line for line in lines if line in {"set up", "hello"}] == ["set up", "hello"]

    second = Machine(tmp_path / "second", endpoint)
    assert "does not run again" in second.managed_job(plan)
    assert not (second.state / "end").exists()


@pytest.mark.timeout(600)
def test_a_failed_setup_of_a_managed_job_is_an_end_that_it_stores(endpoint: str, tmp_path: Path) -> None:
    s3.empty(endpoint)
    work = WorkPlan(setup_commands=("exit 5",), run_commands=("touch ran",))
    plan = replace(PLAN, work=work, detach=DetachPlan(place=PLACE, is_managed=True))
    machine = Machine(tmp_path / "node", endpoint)
    printed = machine.managed_job(plan)
    results = StoredResults(lambda name: S3Bucket(s3.client(endpoint), name), environment={"PATH": machine.path})
    end = results.end(OF_RUN)
    assert end is not None and (end.node.exit_code, end.node.phase) == (5, "setup"), printed


@pytest.mark.timeout(600)
def test_a_machine_that_a_controller_launches_after_the_deadline_ends_its_job_at_once(
    endpoint: str, tmp_path: Path
) -> None:
    s3.empty(endpoint)
    plan = replace(PLAN, detach=DetachPlan(place=PLACE, is_managed=True))
    machine = Machine(tmp_path / "node", endpoint)
    printed = machine.managed_job(plan, deadline=time.time() + 100)
    results = StoredResults(lambda name: S3Bucket(s3.client(endpoint), name), environment={"PATH": machine.path})
    end = results.end(OF_RUN)
    assert end is not None and end.node.timed_out, printed
    assert TOKEN not in printed, "the command did not run"
