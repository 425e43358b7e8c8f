"""A flood of lines is read in the memory of ten thousand, and at the price of a few plain copies of them.

Eight bytes kept of each line, the least that Python keeps of anything, are twice the bound.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.cases import generated

LINES = generated(2_000_000)
TIMES_A_PLAIN_COPY = 16
"""From 3 to 8 were measured, by machine: 130,000 to 220,000 lines a second of one core."""


@pytest.mark.flood
@pytest.mark.timeout(900)
def test_a_flood_of_lines_takes_no_more_memory_and_a_few_times_what_copying_them_takes() -> None:
    command = [sys.executable, "-m", "tests.support.flood", str(LINES)]
    document = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout)
    assert document["lines"] == LINES, "the file holds every one"
    assert document["grown_bytes"] < LINES * 8 / 2
    assert document["shown_bytes"] < 4 << 20
    assert document["lines_per_second"] * TIMES_A_PLAIN_COPY > document["copied_lines_per_second"], document
