"""Managed jobs of a real SkyPilot API server, whose controller launches the machines: real engine, EC2 and S3.

    script/bench managed

They take many minutes, so `script/test` does not collect this file.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.sandbox import Sandbox
from tests.e2e.api_server import api_server
from tests.e2e.cloud import docker, eventually
from tests.e2e.conftest import Terminal
from tests.e2e.test_detached import container_of
from tests.e2e.test_storage import s3_of

PORT = 46617
PLACE = "s3://managed/of/ci"
TOKEN = "hf_correct-horse-battery-staple"
JOB = (
    "echo one; echo its token is $HF_TOKEN; until [ -e /tmp/go ]; do sleep 0.2; done; "
    "mkdir out; seq 1 5000 > out/numbers.txt; echo two; exit 7"
)
MACHINE_SECONDS, RECOVERY_SECONDS, END_SECONDS = 600.0, 900.0, 300.0


@pytest.fixture(scope="module")
def server(sandbox: tuple[Sandbox, Path]) -> Iterator[tuple[str, str]]:
    made, directory = sandbox
    with api_server(made.up(), directory / "managed-server.log", port=PORT, runs_jobs=True) as serving:
        yield serving


@pytest.fixture
def member(terminal: Terminal, server: tuple[str, str]) -> Terminal:
    """Return a terminal with a token of the server, and with keys of its own for the bucket of the results."""
    terminal.cloud = "aws/us-east-1"
    address, token = server
    access = terminal.sandbox.access()
    terminal.variables = {
        "SKYPILOT_API_SERVER_ENDPOINT": address,
        "SKYPILOT_SERVICE_ACCOUNT_TOKEN": token,
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
        "AWS_ENDPOINT_URL": access.endpoint_url,
        "no_proxy": "*",
    }
    return terminal


def begun_machine(member: Terminal, *, other_than: str = "", within: float = MACHINE_SECONDS) -> str:
    """Return the machine on which the job has begun."""

    def look() -> str:
        for machine in member.machines():
            with contextlib.suppress(subprocess.CalledProcessError):  # its container comes after it, and may be gone
                if machine != other_than and "one" in docker("exec", container_of(machine), "bash", "-c", LOGS):
                    return machine
        return ""

    return eventually(look, within=within)


LOGS = "cat /home/*/.cvl-ci/*/log/running/new 2> /dev/null || true"


@pytest.mark.minutes(12)
def test_a_managed_job_outlives_its_run_and_the_loss_of_its_machine_and_another_process_collects_it(
    member: Terminal,
) -> None:
    s3_of(member).create_bucket(Bucket="managed")
    words = ["--command", JOB, "--gpu", "none", "--outputs", "out/**", "--max-runtime", "50m"]
    ran = member.run(*words, "--secrets", f"HF_TOKEN={TOKEN}", "--spot", "true", "--managed", "--detach-to", PLACE)
    assert (ran.code, ran.summary["ending"]) == (0, "detached"), ran.err + ran.out
    told = " ".join(ran.err.split())
    assert "SkyPilot's controller, and not cvl-ci" in told and "launches and ends the machine" in told
    lease = str(ran.summary["cluster"])
    assert f"cvl-ci collect {lease}" in told

    first = begun_machine(member)
    assert first, "no machine has the job"
    early = member.type("collect", lease)
    assert early.returncode == 75, early.stderr + early.stdout
    assert "its job still runs" in early.stdout
    member.sandbox.interrupt(first, notice_seconds=0.0)
    second = begun_machine(member, other_than=first, within=RECOVERY_SECONDS)
    assert second, "the controller launched no other machine"
    assert deadline_on(second) == deadline_in(member, lease), "a later machine has the deadline of the run"
    docker("exec", container_of(second), "touch", "/tmp/go")

    eventually(lambda: member.machines() == [], within=END_SECONDS)
    assert member.machines() == [], "the controller ends the machine after its job"
    folder = member.home / "collected"
    collected = member.type("collect", "all", "--outputs-dir", str(folder))
    assert collected.returncode == 7, collected.stderr + collected.stdout
    summary = json.loads((folder / f"{lease}.json").read_text())
    assert (summary["ending"], summary["exit_code"], summary["released"]["gone"]) == ("failed", 7, True)
    assert "its token is ***" in collected.stdout and TOKEN not in collected.stdout
    numbers = "".join(f"{number}\n" for number in range(1, 5001))
    assert (folder / lease / "out/numbers.txt").read_text() == numbers


@pytest.mark.minutes(6)
def test_down_cancels_a_managed_job_whose_machine_starts_and_waits_for_the_proof(member: Terminal) -> None:
    words = ["--command", "echo one; sleep 3000", "--gpu", "none", "--managed", "--detach-to", PLACE]
    ran = member.run(*words)
    assert ran.code == 0, ran.err
    lease = str(ran.summary["cluster"])
    assert eventually(member.machines, within=MACHINE_SECONDS), "the controller launched no machine"
    done = member.type("down", lease)
    assert done.returncode == 0, done.stderr
    assert "managed-jobs 127.0.0.1 shows 0 left" in " ".join((done.stdout + done.stderr).split())
    time.sleep(15)
    assert member.machines() == []


def deadline_in(member: Terminal, lease: str) -> int:
    record = json.loads((member.home / ".local/state/cvl-ci/leases" / f"{lease}.json").read_text())
    return int(record["deadline"])


def deadline_on(machine: str) -> int:
    """Return the deadline in the environment of the job's processes."""
    look = "cat /proc/[0-9]*/environ 2> /dev/null | tr '\\0' '\\n' | grep -m1 ^CVL_CI_DEADLINE= | cut -d= -f2"
    return int(docker("exec", "--user", "root", container_of(machine), "bash", "-c", look).strip())
