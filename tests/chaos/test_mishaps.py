"""What a mishap does to the place that post runs in, it does, and then post runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.chaos.mishaps import FULL, READ_ONLY

WRITES = """
for each in "$HOME" "$SKYPILOT"; do cat "$each/kept"; head -c 10M /dev/zero 2>&1 > "$each/more" || echo refused; done
"""


@pytest.mark.parametrize("before", [FULL, READ_ONLY])
def test_what_is_there_can_be_read_and_no_more_be_written(before: str, tmp_path: Path) -> None:
    alone = ["unshare", "--mount"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NO DISK IS FILLED HERE: only root has a mount namespace of its own")
    for name in ("user", "skypilot"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").write_text(f"of {name}\n")
    environment = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(tmp_path / "user"),
        "SKYPILOT": str(tmp_path / "skypilot"),
    }
    words = [*alone, "sh", "-ec", f'{before}\nexec "$@"', "sh", "sh", "-c", WRITES]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith(("of ", "refused"))]
    assert said == ["of user", "refused", "of skypilot", "refused"]
    left = [each.name for name in ("user", "skypilot") for each in (tmp_path / name).iterdir()]
    assert left == ["kept", "kept"]
