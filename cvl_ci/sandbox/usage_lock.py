"""Who uses a sandbox now: concurrent runs share one, and the last run stops a sandbox that a run started."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

VISITORS = "visitors"
"""A file on which each run of this sandbox holds a shared lock. A killed run loses its lock."""
BROUGHT_UP = "brought-up-by-a-run"


@dataclass(frozen=True, kw_only=True)
class Usage:
    directory: Path
    visitors: IO[str]

    def lock_for_removal(self) -> bool:
        """Return whether a run started the sandbox and no other run uses it.

        If so, no run can enter until we are done.
        """
        return is_started_by_run(self.directory) and _alone_in(self.visitors)

    def mark_started_by_run(self) -> None:
        (self.directory / BROUGHT_UP).touch()

    def unmark_started_by_run(self) -> None:
        unmark_started_by_run(self.directory)


@contextmanager
def use(directory: Path) -> Iterator[Usage]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / VISITORS).open("a") as visitors:
        fcntl.flock(visitors, fcntl.LOCK_SH)
        yield Usage(directory=directory, visitors=visitors)


def is_started_by_run(directory: Path) -> bool:
    return (directory / BROUGHT_UP).exists()


def unmark_started_by_run(directory: Path) -> None:
    (directory / BROUGHT_UP).unlink(missing_ok=True)


@contextmanager
def orphaned(directory: Path) -> Iterator[bool]:
    """Yield whether a run started the sandbox and no run uses it. If so, no run can enter inside the block.

    If not, the block holds no lock: a run that ends at the same time can still be the last one.
    """
    try:
        visitors = (directory / VISITORS).open("a")
    except FileNotFoundError:
        yield False
        return
    with visitors:
        yield is_started_by_run(directory) and _locked(visitors)


def _alone_in(visitors: IO[str]) -> bool:
    """Return whether no other run holds the lock. If so our lock becomes exclusive, so that no run enters meanwhile."""
    if _locked(visitors):
        return True
    fcntl.flock(visitors, fcntl.LOCK_SH)  # the failed attempt has dropped our shared lock
    return False


def _locked(visitors: IO[str]) -> bool:
    try:
        fcntl.flock(visitors, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
