"""The third line of the promise, alone: the run is killed, nobody comes after it, and the machine ends itself.

By its heartbeat, where it runs a job: tests/chaos/test_runs.py.
"""

from __future__ import annotations

import time

import pytest

from tests.e2e.cloud import eventually
from tests.e2e.conftest import Terminal
from tests.support.places import only_wait


def told_deadline(terminal: Terminal, machine: str) -> int:
    """Return the deadline in a machine's label; 0 while it has no labels yet."""
    (labels,) = (each.tags for each in terminal.sandbox.status().instances if each.id == machine)
    return int(labels.get("cvl-ci-deadline", 0))


@pytest.mark.minutes(8)
def test_a_machine_that_nobody_ever_reached_ends_itself_at_its_deadline(terminal: Terminal) -> None:
    """By the timer armed at boot: SkyPilot's runtime never came to be, so no autodown was armed."""

    def kill(line: str) -> bool:
        if "asking sandbox/" in line:
            eventually(terminal.machines)
            terminal.processes[-1].kill()
        return False

    # Seven minutes at $0.122 an hour, disk and address included: five for the release, the launch may have the rest.
    ran = terminal.run("--command", "sleep 600", "--max-cost", "0.0143", stop=kill)
    assert ran.code == -9
    (left,) = terminal.machines()  # it outlives the run
    deadline = eventually(lambda: told_deadline(terminal, left))
    only_wait()
    assert eventually(lambda: not terminal.machines(), within=600), "it has ended itself"
    assert time.time() > deadline > 0, "at its deadline, not before"
