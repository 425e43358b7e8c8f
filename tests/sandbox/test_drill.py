"""The drill itself, with the real SkyPilot: the line that is left catches a real run, alone, and says so.

A sample: `cvl-ci drill --cloud sandbox --all` holds every drill there is, and tests/chaos each line alone.
"""

from __future__ import annotations

import re

import pytest

from tests.sandbox.conftest import Terminal

pytestmark = pytest.mark.timeout(1500)


@pytest.mark.parametrize(
    ("phase", "kill", "line"),
    [
        ("provisioning", "SIGKILL", 2),
        ("running", "credentials-expired", 1),
    ],
)
def test_a_drill_tells_which_line_caught_it(terminal: Terminal, phase: str, kill: str, line: int) -> None:
    held = terminal.type("drill", "--cloud", "sandbox", "--phase", phase, "--kill", kill)
    print(held.stderr, held.stdout)
    assert held.returncode == 0, held.stderr
    told = rf"{kill} while {phase} \(lease cvl-\S+\): line {line} caught it, .* after \d.*; 0 left"
    assert re.fullmatch(told, held.stdout.splitlines()[0]), held.stdout
    assert "killed; the provider shows" in held.stderr
    assert "shows 0 left (" in held.stdout
    assert terminal.machines() == []
