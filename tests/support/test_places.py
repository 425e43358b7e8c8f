"""Two processes and one place: the second has it when the first gives it back or ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import Places

TAKE = """
import sys
from pathlib import Path
from tests.support.places import Places
places = Places(Path(sys.argv[1]), 1)
places.acquire()
print("taken", flush=True)
sys.stdin.readline()
places.give_back()
print("given back", flush=True)
sys.stdin.readline()
"""
ROOT = Path(__file__).parents[2]


def other(file: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", TAKE, str(file)]
    return subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("killed", [False, True])
def test_a_place_is_one_process_s_until_it_is_given_back_or_its_process_ends(tmp_path: Path, killed: bool) -> None:
    places = Places(tmp_path / "places", 1)
    with other(tmp_path / "places") as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "taken\n"
        assert not places._lock(0)
        if killed:
            process.kill()
            process.wait()
        else:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "given back\n"
        places.acquire()
        assert places._held == 0
        process.kill()
    places.remove()
    assert not (tmp_path / "places").exists()


def test_without_a_number_everyone_has_a_place(tmp_path: Path) -> None:
    places = Places(tmp_path / "places", 0)
    places.acquire()
    places.give_back()
    places.remove()
    assert list(tmp_path.iterdir()) == []
