"""A folder with a script and without an example.yaml, as the earlier runner took it."""

from __future__ import annotations

from pathlib import Path

from cvl_ci.planning.example import FILE_NAME

SCRIPT = "train.py"
SCRIPT_GPU = "A100:1"
"""The GPU of a script without one. An example.yaml needs no such guess."""


def script_of(folder: Path) -> str | None:
    """Return the script of a folder without an example.yaml; None: the folder is not such a one."""
    return SCRIPT if (folder / SCRIPT).is_file() and not (folder / FILE_NAME).exists() else None
