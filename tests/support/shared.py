"""What the processes of one run of pytest-xdist find out once, and not each."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_RUN = "PYTEST_XDIST_TESTRUNUID"


def once(name: str, find: Callable[[], str]) -> str:
    """Return what `find` returns. One process calls it, and the others wait for that."""
    if _RUN not in os.environ:
        return find()
    with _path(name).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        if not text:
            text = find()
            file.write(text)
            file.flush()
        return text


def remove() -> None:
    """Remove what is kept. A process that asks later finds it out again."""
    if _RUN in os.environ:
        for path in Path(tempfile.gettempdir()).glob(_path("*").name):
            path.unlink(missing_ok=True)


def _path(name: str) -> Path:
    return Path(tempfile.gettempdir(), f"cvl-ci-tests-{os.environ[_RUN]}-{name}")
