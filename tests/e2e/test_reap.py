"""A sweep of an account on which a killed runner left its machine: no state of it, only what the provider shows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvl_ci.clouds import ec2_clients
from tests.e2e.conftest import Terminal


def killed_in_its_job(terminal: Terminal) -> str:
    """Its machine, which lives on."""

    def kill(line: str) -> bool:
        if line.rstrip().endswith("] running"):
            terminal.processes[-1].kill()
        return False

    terminal.run("--command", "sleep 600", "--gpu", "none", "--max-runtime", "20m", stop=kill)
    (machine,) = terminal.machines()
    return machine


def test_what_a_killed_runner_left_lives_to_its_deadline_and_no_longer(terminal: Terminal, tmp_path: Path) -> None:
    terminal.variables["GITHUB_REPOSITORY"] = "cvl/ci"
    machine = killed_in_its_job(terminal)
    (tmp_path / "elsewhere").mkdir()
    elsewhere = replace(terminal, home=tmp_path / "elsewhere")

    living = elsewhere.type("reap", "--cloud", "sandbox", "--grace", "0")
    assert living.returncode == 0, living.stderr
    assert "1 lease still in use and untouched" in living.stdout
    assert terminal.machines() == [machine]

    access = terminal.sandbox.access()
    client = ec2_clients(
        access_key_id=access.access_key_id,
        secret_access_key=access.secret_access_key,
        endpoint_url=access.endpoint_url,
    )
    over: Any = [{"Key": "cvl-ci-deadline", "Value": str(int(time.time()) - 60)}]
    [lease] = {each.tags["cvl-ci-lease"] for each in terminal.sandbox.status().instances if each.id == machine}
    wanted: Any = [{"Name": "key", "Values": ["cvl-ci-lease"]}, {"Name": "value", "Values": [lease]}]
    for region in access.regions:
        if ours := [tag["ResourceId"] for tag in client(region).describe_tags(Filters=wanted)["Tags"]]:
            client(region).create_tags(Resources=ours, Tags=over)

    marked = elsewhere.type("reap", "--cloud", "sandbox")
    assert marked.returncode == 0, marked.stderr
    assert "marked, and left in its grace" in marked.stdout
    dry = elsewhere.type("reap", "--cloud", "sandbox", "--grace", "0", "--dry-run")
    assert dry.returncode == 1, dry.stderr
    assert machine in dry.stdout
    assert terminal.machines() == [machine]

    swept = elsewhere.type("reap", "--cloud", "sandbox", "--grace", "0")
    assert swept.returncode == 1, swept.stderr
    assert f"{machine} in sandbox/" in swept.stdout
    assert "shows 0 left" in swept.stdout
    assert "billed" in swept.stderr
    assert terminal.machines() == []
