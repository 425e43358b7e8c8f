"""Several processes that need an image at once: one builds, the others wait for it and say so."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.building import one_at_a_time

BUILDS = """
import sys, time
from pathlib import Path
from cvl_ci.sandbox.building import one_at_a_time

with one_at_a_time("machine image", lambda line: print(line, flush=True)):
    print("in it", flush=True)
    built = Path(sys.argv[1])
    if not built.exists():
        time.sleep(float(sys.argv[2]))
        built.touch()
        print("built", flush=True)
"""


def started(folder: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDS, str(folder / "image"), str(seconds)],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_second_waits_says_so_and_builds_nothing(tmp_path: Path) -> None:
    first = started(tmp_path, 1.5)
    assert first.stdout is not None
    assert first.stdout.readline() == "in it\n"
    second, _ = started(tmp_path, 1.5).communicate(timeout=30)
    assert first.communicate(timeout=30)[0] == "built\n"
    assert second == "another process is building the machine image: waiting for it\nin it\n"


def test_one_that_is_killed_lets_go_of_it(tmp_path: Path) -> None:
    first = started(tmp_path, 60)
    assert first.stdout is not None
    assert first.stdout.readline() == "in it\n"
    first.kill()
    first.communicate()
    second, _ = started(tmp_path, 0).communicate(timeout=30)
    assert second == "in it\nbuilt\n"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"cvl-ci-{os.getuid()}-machine-image.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SandboxError, match="symbolic link"), one_at_a_time("machine image", print):
        pass
    assert not (tmp_path / "elsewhere").exists()
