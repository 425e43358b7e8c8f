"""Who is in a sandbox: every run holds a shared lock on one file, so that the last to leave is known, killed or not."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

FILE = "visitors"
BROUGHT_UP = "brought-up-by-a-run"
"""While this file is there, nobody but runs wants the sandbox."""


def alone_in(visitors: IO[str]) -> bool:
    """Whether no other run holds the lock; ours becomes exclusive, so that none comes in while it goes down."""
    try:
        fcntl.flock(visitors, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def forsaken(directory: Path) -> Iterator[bool]:
    """Whether a run brought it up and none is in it any more; inside, none comes in."""
    try:
        with (directory / FILE).open("a") as visitors:
            yield (directory / BROUGHT_UP).exists() and alone_in(visitors)
    except FileNotFoundError:
        yield False
