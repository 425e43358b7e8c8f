"""A machine that is kept: a person gets in, and `down` ends it sooner; where nobody comes, it ends by itself."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci import wiring
from cvl_ci.sandbox import Sandbox, emulator_process, sandbox_spec
from tests.clouds.credentials.test_policies import RECORDED, allowed, as_iam_writes
from tests.e2e.cloud import NOTHING, environment, eventually, leavings
from tests.e2e.conftest import Terminal
from tests.e2e.metering import assert_kept_as_metered
from tests.support.places import only_wait
from tests.support.wheels import seed


@pytest.fixture
def alone(checkout: Path, tmp_path: Path, wheels: Path) -> Iterator[Terminal]:
    """With a sandbox that only runs bring up, as for most people."""
    directory = tmp_path / "sandbox"
    seed(directory / "home", store=wheels)
    sandbox = Sandbox(directory, machine_types=wiring.machine_types(), environment=environment(), progress=print)
    yield Terminal(home=tmp_path, directory=directory, sandbox=sandbox, checkout=checkout)
    sandbox.down()


def ssh(way_in: str, command: str) -> subprocess.CompletedProcess[str]:
    words = [*shlex.split(way_in), command]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)


def calls_only_what_the_policies_allow(directory: Path) -> None:
    """GOLDEN=write: records what was called."""
    seen = json.loads((directory / "actions.json").read_text())
    if os.environ.get("GOLDEN") == "write":
        RECORDED.write_text(json.dumps(seen, indent=1) + "\n")
    assert as_iam_writes(seen["client"]) - set(allowed("aws.json")) == set()
    assert as_iam_writes(seen["machine"]) - set(allowed("aws-machine.json")) == set()
    assert "ec2:RunInstances" in seen["client"]


def test_a_person_finds_the_failed_job_s_machine_and_ends_it_when_done(alone: Terminal, tmp_path: Path) -> None:
    key = tmp_path / "anna"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = Path(f"{key}.pub").read_text()
    job = ("--command", "echo here > why; exit 7", "--max-runtime", "10m")
    began = time.time()
    ran = alone.run(*job, "--keep-on-failure", "30", "--ssh-public-key", public)
    assert ran.code == 7, ran.err
    released = ran.summary["released"]
    assert released["gone"] is False
    (way_in,) = released["ssh_commands"]
    assert way_in in ran.err
    assert "MAY STILL BE RUNNING" not in ran.err
    (machine,) = alone.sandbox.status().instances
    ends = int(machine.tags["cvl-ci-deadline"])
    assert machine.tags["cvl-ci-kept"] == str(ends)
    assert began + 30 * 60 < ends <= time.time() + 30 * 60, "counted from when its job had ended"
    seen = ssh(f"{way_in} -i {key}", "cat sky_workdir/why /var/lib/cvl-ci/deadline; ls /var/lib/cvl-ci")
    assert seen.stdout.split() == ["here", str(ends), "deadline", "timer"], "and no earlier end of a set-up"
    assert_kept_as_metered(ran.summary, alone.sandbox, case="kept after its failure, on demand")
    name = ran.summary["cluster"]
    assert f"cvl-ci down {name} --cloud sandbox" in ran.err
    down = alone.type("down", name, "--cloud", "sandbox")
    assert down.returncode == 0, down.stderr
    assert re.search(rf"{name}: gone\n  sandbox .* shows 0 left", down.stdout)
    assert emulator_process.find(alone.directory) is None, "its sandbox went with it"


@pytest.mark.minutes(5)
def test_where_nobody_comes_it_ends_soon_after_its_time_by_itself(alone: Terminal) -> None:
    """Spot, in a sandbox of its own, which writes down what was called: nothing that the policies do not allow."""
    asked = ("--command", "exit 7", "--gpu", "none", "--spot", "true", "--max-runtime", "10m")
    ran = alone.run(*asked, "--keep-on-failure", "3")
    assert ran.code == 7, ran.err
    (machine,) = alone.sandbox.status().instances
    ends = int(machine.tags["cvl-ci-deadline"])
    (way_in,) = ran.summary["released"]["ssh_commands"]
    assert ssh(way_in, "true").returncode == 0, "the key that was made for the run opens it"
    assert_kept_as_metered(ran.summary, alone.sandbox, case="kept after its failure, spot")
    only_wait()
    assert eventually(lambda: emulator_process.find(alone.directory) is None, within=420), (
        "machine and sandbox have ended"
    )
    assert time.time() > ends, "at its time, not before"
    calls_only_what_the_policies_allow(alone.directory)
    assert leavings(sandbox_spec.identity(alone.directory)) == NOTHING
