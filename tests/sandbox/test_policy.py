"""A run on the emulated AWS calls nothing that the policies we hand out do not allow."""

from __future__ import annotations

import json
import os

from tests.engine.credentials.test_policies import RECORDED, allowed, as_iam_writes
from tests.sandbox.conftest import Terminal


def test_a_spot_run_calls_only_what_the_policies_allow(terminal: Terminal) -> None:
    ran = terminal.run("--command", "true", "--gpu", "none", "--spot", "true")
    assert ran.code == 0, ran.err
    seen = json.loads((terminal.directory / "actions.json").read_text())
    if os.environ.get("GOLDEN") == "write":
        RECORDED.write_text(json.dumps(seen, indent=1) + "\n")
    assert as_iam_writes(seen["client"]) - set(allowed("aws.json")) == set()
    assert as_iam_writes(seen["machine"]) - set(allowed("aws-machine.json")) == set()
    assert "ec2:TerminateInstances" in seen["client"]
