"""Runs through a real SkyPilot API server: it has the cloud's credentials, the run has only its address and a token."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.sandbox import Sandbox
from tests.e2e.api_server import api_server
from tests.e2e.conftest import Ran, Terminal
from tests.e2e.metering import assert_told_as_metered
from tests.support.places import only_wait

PORT = 46611


@pytest.fixture(scope="module")
def server(sandbox: tuple[Sandbox, Path]) -> Iterator[tuple[str, str]]:
    """Address and token. SkyPilot's own, in the sandbox's HOME as a team's is in one that knows the clouds."""
    made, directory = sandbox
    with api_server(made.up(), directory / "api-server.log", port=PORT) as serving:
        yield serving


@pytest.fixture
def member(terminal: Terminal, server: tuple[str, str]) -> Terminal:
    terminal.cloud = "aws/us-east-1"
    address, token = server
    terminal.variables = {"SKYPILOT_API_SERVER_ENDPOINT": address, "SKYPILOT_SERVICE_ACCOUNT_TOKEN": token}
    return terminal


def test_a_run_goes_through_it_with_its_exit_code_and_what_it_wrote(member: Terminal) -> None:
    ran = member.run("--command", "echo hello; echo kept > out.txt; exit 7", "--gpu", "none")
    assert ran.summary["exit_code"] == 7, ran.err
    assert "hello" in ran.out.splitlines()
    assert [path.read_text() for path in ran.folder.rglob("out.txt")] == ["kept\n"]
    assert "SkyPilot API server 127.0.0.1 shows 0 left" in " ".join(ran.err.split())
    assert not list(member.home.rglob("*.key"))
    assert member.machines() == []
    assert_told_as_metered(ran.summary, member.sandbox, case="through an API server: failed", slack_seconds=slack(ran))
    assert not any(entry["at_most"] for entry in ran.summary["ledger"])


def test_a_task_that_the_server_refuses_is_the_request_s_mistake_and_spends_nothing(member: Terminal) -> None:
    task = member.home / "task.yaml"
    task.write_text("resources: {cpus: 2+, ports: abc}\nrun: echo hello\n")
    ran = member.run("--task", str(task), "--gpu", "none")
    assert ran.code == 64, ran.err
    assert member.machines() == []


def test_a_token_that_the_server_does_not_know_spends_nothing(member: Terminal) -> None:
    member.variables["SKYPILOT_SERVICE_ACCOUNT_TOKEN"] = "sky_0123456789"
    ran = member.run("--command", "true", "--gpu", "none")
    assert ran.code == 77, ran.err
    assert "sky_0123456789" not in ran.err


def test_what_a_killed_run_had_asked_the_server_for_is_ended_by_its_record(member: Terminal) -> None:
    def kill(line: str) -> bool:
        if "Launching on" in line or "Instance is up" in line:
            member.processes[-1].kill()
        return False

    ran = member.run("--command", "sleep 600", "--gpu", "none", stop=kill)
    assert ran.code == -9
    [record] = (member.home / ".local/state/cvl-ci/leases").glob("*.json")
    address = member.variables.pop("SKYPILOT_API_SERVER_ENDPOINT")
    lost = member.type("down", record.stem)
    assert lost.returncode != 0
    assert "may still be running" in lost.stderr
    member.variables["SKYPILOT_API_SERVER_ENDPOINT"] = address
    done = member.type("down", record.stem)
    assert done.returncode == 0, done.stderr
    assert "SkyPilot API server 127.0.0.1 shows 0 left" in " ".join((done.stdout + done.stderr).split())
    only_wait()
    time.sleep(15)
    assert member.machines() == []


def test_one_stopped_while_the_server_launches_leaves_nothing(member: Terminal) -> None:
    ran = member.run("--command", "sleep 600", "--gpu", "none", stop=lambda line: "Launching on" in line)
    assert ran.code == 130, ran.err
    assert not any(entry["at_most"] for entry in ran.summary["ledger"]), "the server's record names the machine"
    only_wait()
    time.sleep(15)
    assert member.machines() == []
    assert_told_as_metered(
        ran.summary,
        member.sandbox,
        case="through an API server: cancelled while provisioning",
        slack_seconds=slack(ran),
    )


def slack(ran: Ran) -> float:
    """Return how many seconds the server's record may be wrong, as the ledger says: a busy server is slow."""
    notes = [re.search(r"by the API server's record, to ([\d.]+) s", entry["note"]) for entry in ran.summary["ledger"]]
    return max((float(note[1]) for note in notes if note), default=0.0)
