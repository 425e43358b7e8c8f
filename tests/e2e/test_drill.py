"""The drill itself, with the real SkyPilot: the line that is left catches a real run, alone, and says so.

A sample: `cvl-ci drill --cloud sandbox --all` holds every drill, and tests/chaos the other lines alone.
"""

from __future__ import annotations

import re

import pytest

from tests.e2e.conftest import Terminal

pytestmark = pytest.mark.timeout(1500)


@pytest.mark.minutes(4)
def test_a_drill_tells_which_line_caught_it(terminal: Terminal) -> None:
    held = terminal.type("drill", "--cloud", "sandbox", "--phase", "running", "--kill", "credentials-expired")
    print(held.stderr, held.stdout)
    assert held.returncode == 0, held.stderr
    told = r"credentials-expired while running \(lease cvl-\S+\): line 1 caught it, .* after \d.*; 0 left"
    assert re.fullmatch(told, held.stdout.splitlines()[0]), held.stdout
    assert "killed; the provider shows" in held.stderr
    assert "shows 0 left (" in held.stdout
    assert terminal.machines() == []
