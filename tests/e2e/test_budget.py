"""max_cost on the sandbox: spot is not to be had, and the dearer machine taken instead ends the job sooner."""

from __future__ import annotations

import time

import pytest

from cvl_ci.sandbox import Faults
from tests.e2e.conftest import Terminal
from tests.e2e.metering import assert_told_as_metered
from tests.support.places import only_wait

MAX_COST = 0.0221
"""On demand, with its disk and address $0.121 an hour, 11 minutes, 5 of them for release; at the spot price, more."""
MINUTES = 11


@pytest.mark.minutes(5)
def test_a_budget_that_ends_mid_run_ends_over_budget_with_outputs_and_no_machine(terminal: Terminal) -> None:
    terminal.sandbox.set_faults(Faults(no_spot_capacity=("us-east-1", "us-west-2")))
    seen: list[tuple[float, float]] = []

    def note_deadline(line: str) -> bool:
        if line.rstrip().endswith("] running"):
            (machine,) = [each for each in terminal.sandbox.status().instances if each.state == "running"]
            seen.append((time.time(), float(machine.tags["cvl-ci-deadline"])))
            only_wait()
        return False

    command = "cat /var/lib/cvl-ci/deadline > armed; echo kept > kept; sleep 900"
    job = ("--command", command, "--cpus", "2", "--spot", "fallback")
    ran = terminal.run(*job, "--max-cost", str(MAX_COST), stop=note_deadline)
    over = time.time()
    assert (ran.code, ran.summary["ending"]) == (78, "over_budget"), ran.err
    assert terminal.machines() == [] and ran.summary["released"]["gone"] is True
    assert sorted(each["path"] for each in ran.summary["files"]) == ["armed", "kept"]
    assert ran.summary["spot"] is False
    assert any(each["spot"] and each["error"] for each in ran.summary["attempts"]), "it says why it fell back"
    assert ran.summary["cost_usd"] < MAX_COST
    ((began, deadline),) = seen
    assert (ran.folder / "armed").read_text().strip() == str(int(deadline)), "timer and label say the same"
    assert began < deadline < began + MINUTES * 60, "by the price of the machine it got"
    assert over < deadline, "it was over before its money was"
    assert over > deadline - 5 * 60, "it ran as long as the money for it lasted"
    assert_told_as_metered(ran.summary, terminal.sandbox, case="over budget")
