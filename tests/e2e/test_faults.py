"""What a cloud does to people: no capacity anywhere, a machine that never answers, a machine of two that dies.

Other tests run under the other faults: a zone without capacity (test_examples.py), a region without (test_gpus.py), no
spot capacity (test_budget.py), an API that throttles (test_endings.py), keys that expire (test_drill.py), all
machines taken (test_recovery.py).
"""

from __future__ import annotations

import pytest

from cvl_ci.sandbox import Faults
from tests.e2e.conftest import Terminal
from tests.e2e.metering import assert_told_as_metered
from tests.support.places import only_wait


def test_no_capacity_anywhere_ends_75_with_every_attempt(terminal: Terminal) -> None:
    terminal.sandbox.set_faults(Faults(no_capacity=("us-east-1", "us-west-2")))
    ran = terminal.run("--command", "echo never")
    assert ran.code == 75, ran.err
    assert ran.summary["ending"] == "never_started"
    assert {each["region"] for each in ran.summary["attempts"]} == {"us-east-1", "us-west-2"}
    assert all(each["error"] for each in ran.summary["attempts"])
    assert ran.summary["cost_usd"] in (0, None)
    assert terminal.machines() == []
    assert_told_as_metered(ran.summary, terminal.sandbox, case="never started: no capacity anywhere")


def test_a_machine_that_never_gets_ssh_is_given_up_and_taken_down(terminal: Terminal) -> None:
    """The first zone has no capacity, which costs nothing; the machine of the next zone costs its life."""
    terminal.sandbox.set_faults(Faults(no_capacity=("us-east-1a",), never_ssh=("us-east-1", "us-west-2")))

    def wait(line: str) -> bool:
        if "asking sandbox/" in line:
            only_wait()
        return False

    ran = terminal.run("--command", "echo never", "--provision-timeout", "90s", stop=wait)
    assert ran.code == 70, ran.err
    assert ran.summary["ending"] == "never_started"
    assert "did not answer by ssh" in ran.summary["reason"]
    refused, *_, silent = ran.summary["attempts"]
    assert (refused["zone"], refused["machines"]) == ("us-east-1a", 0)
    assert "InsufficientInstanceCapacity" in refused["error"]
    assert silent["zone"] != "us-east-1a"
    assert ran.summary["cost_usd"] > 0, "the machine was there, and that is told"
    assert {entry["zone"] for entry in ran.summary["ledger"]} == {silent["zone"]}
    assert terminal.machines() == []
    assert_told_as_metered(
        ran.summary, terminal.sandbox, case="never started: a zone without capacity, then a silent machine"
    )


@pytest.mark.minutes(3)
def test_one_of_two_machines_that_dies_ends_the_run_long_before_its_limit(terminal: Terminal) -> None:
    killed: list[str] = []

    def kill(line: str) -> bool:
        if line.rstrip().endswith("] running") and not killed:
            there = terminal.sandbox.status().instances
            [other] = [
                each.id for each in there if each.tags.get("ray-node-type") == "worker" and each.state == "running"
            ]
            terminal.sandbox.kill(other)
            killed.append(other)
            only_wait()
        return False

    ran = terminal.run("--command", "echo begun; sleep 900", "--num-nodes", "2", "--max-runtime", "15m", stop=kill)
    assert killed
    assert (ran.code, ran.summary["ending"]) == (75, "preempted"), ran.err
    assert "1 of its 2 nodes" in ran.summary["reason"]
    assert terminal.machines() == []
    assert_told_as_metered(ran.summary, terminal.sandbox, case="one of two machines died")
