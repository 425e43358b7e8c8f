"""Who is in a sandbox: runs side by side share one, and the last to leave takes down what a run had brought up."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

VISITORS = "visitors"
"""Each run in this sandbox holds a shared lock on it; one that is killed lets go of it."""
BROUGHT_UP = "brought-up-by-a-run"


@dataclass(frozen=True, kw_only=True)
class Visit:
    directory: Path
    visitors: IO[str]

    def may_end_it(self) -> bool:
        """A run had brought it up, and no other one is in it; from then on none comes in before we are through."""
        return brought_up_by_a_run(self.directory) and _alone_in(self.visitors)

    def note_that_a_run_brings_it_up(self) -> None:
        (self.directory / BROUGHT_UP).touch()

    def forget_who_brought_it_up(self) -> None:
        forget_who_brought_it_up(self.directory)


@contextmanager
def visit(directory: Path) -> Iterator[Visit]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / VISITORS).open("a") as visitors:
        fcntl.flock(visitors, fcntl.LOCK_SH)
        yield Visit(directory=directory, visitors=visitors)


def brought_up_by_a_run(directory: Path) -> bool:
    return (directory / BROUGHT_UP).exists()


def forget_who_brought_it_up(directory: Path) -> None:
    (directory / BROUGHT_UP).unlink(missing_ok=True)


@contextmanager
def forsaken(directory: Path) -> Iterator[bool]:
    """Whether a run brought it up and none is in it any more; inside, none comes in.

    Asked in vain, nothing is held: a run that leaves just then is not kept from being the last.
    """
    try:
        visitors = (directory / VISITORS).open("a")
    except FileNotFoundError:
        yield False
        return
    with visitors:
        yield brought_up_by_a_run(directory) and _locked(visitors)


def _alone_in(visitors: IO[str]) -> bool:
    """Whether no other run holds the lock; ours becomes exclusive, so that none comes in while it goes down."""
    if _locked(visitors):
        return True
    fcntl.flock(visitors, fcntl.LOCK_SH)  # what was asked for in vain has cost us the lock we had
    return False


def _locked(visitors: IO[str]) -> bool:
    try:
        fcntl.flock(visitors, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
