"""SkyPilot's own wheel, which it copies to each machine that it launches.

SkyPilot builds the wheel at its first launch with a HOME (sky/backends/wheel_utils.py). The build takes six seconds of
the processor, and pip fetches its tools from PyPI. A run of the action has a new HOME each time, so the action's image
holds the wheel.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from sky.backends import wheel_utils

IMAGE_FOLDER = Path("/opt/cvl-ci/wheels")
_DAY = 86_400.0


def provide(folder: Path = IMAGE_FOLDER) -> None:
    """Copy the wheel of `folder` to the place where SkyPilot looks for it, unless one of its version is there.

    SkyPilot builds another one where its own files are newer. Folders of SkyPilot get new bytecode while it runs, and
    look newer. The files of an image never change, so the copy is dated a day ahead.
    """
    for source in folder.glob("*/*.whl"):
        if any(wheel_utils.WHEEL_DIR.glob(f"*/{source.name}")):
            continue
        into = wheel_utils.WHEEL_DIR / source.parent.name
        into.mkdir(parents=True, exist_ok=True)
        incomplete = into / f".{os.getpid()}"
        shutil.copyfile(source, incomplete)
        os.utime(incomplete, (time.time() + _DAY,) * 2)
        incomplete.replace(into / source.name)
