"""The scripts of this repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.doc_tables import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "script").iterdir() if not path.suffix)


@pytest.mark.parametrize("word", ["--help", "-h"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_what_the_script_does_and_starts_nothing(name: str, word: str, tmp_path: Path) -> None:
    """Alone in a folder, where each other word would fail for lack of a program."""
    (tmp_path / "script").mkdir()
    script = shutil.copy(ROOT / "script" / name, tmp_path / "script")
    for program in ("bash", "env", "sed"):
        (tmp_path / program).symlink_to(shutil.which(program) or program)
    result = subprocess.run([script, word], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    header = (ROOT / "script" / name).read_text(encoding="utf-8").splitlines()[1]
    assert result.stdout.splitlines()[0] == header.removeprefix("# ")
    assert "set -euo" not in result.stdout
