"""Git as a person uses it, in a repository of a test."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import count
from pathlib import Path

GIT = shutil.which("git") or "git"
_SECONDS = count(1_900_000_000)
"""Dates of commits: `git describe` goes by them, and miscounts commits of one second."""


def git(root: Path, *words: str) -> str:
    """Return what git prints. Fail the test where git fails."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    environment = {**os.environ, "GIT_COMMITTER_DATE": f"{next(_SECONDS)} +0000"}
    command = [GIT, *identity, "-C", str(root), *words]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()
