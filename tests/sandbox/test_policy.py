"""A run on the emulated AWS calls nothing that the policies we hand out do not allow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci import wiring
from cvl_ci.sandbox import Sandbox
from tests.engine.credentials.test_policies import RECORDED, allowed, as_iam_writes
from tests.sandbox.conftest import Terminal


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Terminal]:
    """On a sandbox of its own: the emulator tells what was called, not by which test."""
    directory = tmp_path / "sandbox"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    made = Sandbox(directory, machine_types=wiring.machine_types(), environment=kept, progress=print)
    made.up()
    yield Terminal(home=tmp_path, directory=directory, sandbox=made)
    made.down()


def test_a_spot_run_calls_only_what_the_policies_allow(alone: Terminal) -> None:
    ran = alone.run("--command", "true", "--gpu", "none", "--spot", "true")
    assert ran.code == 0, ran.err
    seen = json.loads((alone.directory / "actions.json").read_text())
    if os.environ.get("GOLDEN") == "write":
        RECORDED.write_text(json.dumps(seen, indent=1) + "\n")
    assert as_iam_writes(seen["client"]) - set(allowed("aws.json")) == set()
    assert as_iam_writes(seen["machine"]) - set(allowed("aws-machine.json")) == set()
    assert "ec2:TerminateInstances" in seen["client"]
