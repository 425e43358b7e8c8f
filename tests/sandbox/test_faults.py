"""What a cloud does to people: no capacity, a machine that never answers, one that dies, an API that says slow down."""

from __future__ import annotations

import time

from cvl_ci.sandbox import Faults
from tests.sandbox.conftest import Terminal


def test_a_zone_without_capacity_fails_over_to_the_next_zone(terminal: Terminal) -> None:
    terminal.sandbox.set_faults(Faults(no_capacity=("us-east-1a",)))
    ran = terminal.run("--command", "echo here", "--cloud", "sandbox/us-east-1")
    assert ran.code == 0, ran.err
    first, *_, last = ran.summary["attempts"]
    assert (first["zone"], last["error"]) == ("us-east-1a", None)
    assert "InsufficientInstanceCapacity" in first["error"]
    assert last["zone"] != "us-east-1a"
    assert terminal.machines() == []


def test_a_region_without_capacity_fails_over_to_the_other_region(terminal: Terminal) -> None:
    terminal.sandbox.set_faults(Faults(no_capacity=("us-east-1",)))
    ran = terminal.run("--command", "echo here")
    assert ran.code == 0, ran.err
    assert ran.summary["region"] == "us-west-2"
    assert {each["region"] for each in ran.summary["attempts"]} == {"us-east-1", "us-west-2"}
    assert {each["region"] for each in ran.summary["released"]["asked"]} == {"us-east-1", "us-west-2"}
    assert terminal.machines() == []


def test_no_capacity_anywhere_ends_75_with_every_attempt(terminal: Terminal) -> None:
    terminal.sandbox.set_faults(Faults(no_capacity=("us-east-1", "us-west-2")))
    ran = terminal.run("--command", "echo never")
    assert ran.code == 75, ran.err
    assert ran.summary["ending"] == "never_started"
    assert {each["region"] for each in ran.summary["attempts"]} == {"us-east-1", "us-west-2"}
    assert all(each["error"] for each in ran.summary["attempts"])
    assert ran.summary["cost_usd"] in (0, None)
    assert terminal.machines() == []


def test_spot_falls_back_to_on_demand_and_says_so(terminal: Terminal) -> None:
    terminal.sandbox.set_faults(Faults(no_spot_capacity=("us-east-1", "us-west-2")))
    ran = terminal.run("--command", "echo here", "--spot", "fallback")
    assert ran.code == 0, ran.err
    assert ran.summary["spot"] is False
    assert any(each["spot"] and each["error"] for each in ran.summary["attempts"])
    assert terminal.machines() == []


def test_a_machine_that_never_gets_ssh_is_given_up_and_taken_down(terminal: Terminal) -> None:
    terminal.sandbox.set_faults(Faults(never_ssh=("us-east-1", "us-west-2")))
    ran = terminal.run("--command", "echo never", "--provision-timeout", "90s")
    assert ran.code == 70, ran.err
    assert ran.summary["ending"] == "never_started"
    assert "never answered by ssh" in ran.summary["reason"]
    assert ran.summary["cost_usd"] > 0, "the machine was there, and that is told"
    assert terminal.machines() == []


def test_a_machine_that_dies_in_mid_run_is_no_failure_of_the_job(terminal: Terminal) -> None:
    killed: list[str] = []

    def kill(line: str) -> bool:
        if line.rstrip().endswith("] running") and not killed:
            killed.extend(terminal.machines())
            terminal.sandbox.kill(killed[0])
        return False

    ran = terminal.run("--command", "echo begun; sleep 300", stop=kill)
    assert killed
    assert (ran.code, ran.summary["ending"]) == (75, "preempted"), ran.err
    assert ran.summary["released"]["gone"] is True
    assert terminal.machines() == []


def test_one_of_two_machines_that_dies_ends_the_run_long_before_its_limit(terminal: Terminal) -> None:
    killed: list[float] = []

    def kill(line: str) -> bool:
        if line.rstrip().endswith("] running") and not killed:
            there = terminal.sandbox.status().instances
            [other] = [
                each.id for each in there if each.tags.get("ray-node-type") == "worker" and each.state == "running"
            ]
            terminal.sandbox.kill(other)
            killed.append(time.monotonic())
        return False

    ran = terminal.run("--command", "echo begun; sleep 900", "--num-nodes", "2", "--max-runtime", "15m", stop=kill)
    assert killed
    assert time.monotonic() - killed[0] < 300
    assert (ran.code, ran.summary["ending"]) == (75, "preempted"), ran.err
    assert "1 of its 2 nodes" in ran.summary["reason"]
    assert terminal.machines() == []


def test_an_api_that_throttles_half_of_all_calls_still_ends_with_proof(terminal: Terminal) -> None:
    from cvl_ci.sandbox import Throttle

    terminal.sandbox.set_faults(Faults(throttle=(Throttle(action="DescribeInstances", probability=0.3),)))
    ran = terminal.run("--command", "echo here")
    assert ran.summary["released"]["gone"] is True, ran.err
    assert terminal.machines() == []
