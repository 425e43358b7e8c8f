"""Git, asked so that nothing of the repository runs: no hook, no filter, no monitor."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cvl_ci.errors import CvlError


def quiet(git: str) -> dict[str, str]:
    """An environment in which git runs nothing else, and trusts the directory whoever owns it: it only reads names."""
    settings = {"safe.directory": "*", "core.fsmonitor": "false", "core.hooksPath": os.devnull}
    numbered = {
        name: text
        for at, (key, value) in enumerate(settings.items())
        for name, text in ((f"GIT_CONFIG_KEY_{at}", key), (f"GIT_CONFIG_VALUE_{at}", value))
    }
    return {
        "PATH": os.pathsep.join([str(Path(git).parent), os.defpath]),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_COUNT": str(len(settings)),
        **numbered,
    }


def contents(git: str, root: Path, *words: str) -> bytes:
    """What git says. Raises CvlError."""
    done = subprocess.run([git, "-C", str(root), *words], env=quiet(git), capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise CvlError(f"git {words[0]} failed in {root}: {said[0] if said else 'no reason given'}")
    return done.stdout
