"""The programs that tests start by their name: `python3` is this Python, without packages, as a new machine has it.

What a person has under that name may be a shell script of a version manager, or load packages at each start. Either
takes several times the processor of Python's own start, and jobs of the tests start it many hundred times.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

NAMES = ("python3", "python")


class BarePython:
    """A folder of the search path. The processes of pytest-xdist have it from the one that started them."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def provide(self) -> None:
        if "PYTEST_XDIST_WORKER" in os.environ:
            return
        own = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        self._folder = Path(tempfile.mkdtemp(prefix="cvl-python-"))
        programs = self._folder / "bin"
        programs.mkdir()
        (self._folder / "pyvenv.cfg").write_text(f"home = {own.parent}\n")
        for name in filter(shutil.which, NAMES):
            (programs / name).symlink_to(own)
        os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


BARE_PYTHON = BarePython()
