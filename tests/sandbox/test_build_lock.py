"""Several processes that need an image at once: one builds, the others wait for it and say so."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.build_lock import one_at_a_time
from tests import golden

MESSAGES = golden.Messages(__name__)

BUILDS = """
import sys
from pathlib import Path
from cvl_ci.sandbox.docker.build_lock import one_at_a_time

with one_at_a_time("machine image", lambda line: print(line, flush=True)):
    print("in it", flush=True)
    built = Path(sys.argv[1])
    if not built.exists():
        sys.stdin.readline()
        built.touch()
        print("built", flush=True)
"""


def started(folder: Path) -> subprocess.Popen[str]:
    """It builds until it is sent a line."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILDS, str(folder / "image")],
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def heard(builder: subprocess.Popen[str]) -> str:
    assert builder.stdout is not None
    return builder.stdout.readline()


def test_the_second_waits_says_so_and_builds_nothing(tmp_path: Path) -> None:
    first = started(tmp_path)
    assert heard(first) == "in it\n"
    second = started(tmp_path)
    MESSAGES.check("waits", heard(second))
    assert first.communicate("\n", timeout=30)[0] == "built\n"
    assert second.communicate(timeout=30)[0] == "in it\n"


def test_one_that_is_killed_lets_go_of_it(tmp_path: Path) -> None:
    first = started(tmp_path)
    assert heard(first) == "in it\n"
    first.kill()
    first.communicate()
    assert started(tmp_path).communicate("\n", timeout=30)[0] == "in it\nbuilt\n"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"cvl-ci-{os.getuid()}-machine-image.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SandboxError, match="symbolic link"), one_at_a_time("machine image", print):
        pass
    assert not (tmp_path / "elsewhere").exists()
