"""SkyPilot's wheel, built once for all sandboxes of the tests: each has a home of its own, and would build it again."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

BUILD = "from sky.backends import wheel_utils; wheel_utils.build_sky_wheel()"
DAY = 86_400


def seed(home: Path, *, store: Path) -> None:
    """Copy the wheel into a home, dated a day ahead as engine/worker/skypilot_wheel.py dates it. `store`: shared."""
    shared = store / f"wheels-{version('skypilot')}"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(shared.glob(".sky/wheels/*/*.whl")):
            environment = {"HOME": str(shared), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
            subprocess.run([sys.executable, "-c", BUILD], env=environment, check=True, capture_output=True, timeout=300)
    for wheel in shared.glob(".sky/wheels/*/*.whl"):
        into = home / wheel.parent.relative_to(shared)
        into.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(wheel, into / wheel.name)
        os.utime(into / wheel.name, (time.time() + DAY,) * 2)
