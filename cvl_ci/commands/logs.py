"""`logs`: the lines of one run's job, from its log on this computer. It asks no machine and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from cvl_ci.ports import Clock, RunLog

POLL_SECONDS = 0.3
LONGEST_PIECE = 1 << 16
"""Bytes of a line that come at once: a job may never end its line."""
LARGEST_BATCH = 1000


def lines(log: RunLog, *, clock: Clock, is_following: bool) -> Iterator[Sequence[str]]:
    """Yield the lines in batches, without their ends. While the run lives, wait for more, if `is_following`.

    A log that does not exist, or no longer, has no lines.
    """
    file: BinaryIO | None = None
    try:
        while True:
            is_last = not (is_following and log.is_alive())  # before the read: the run may write once more in between
            file = file or _opened(log)
            if file is not None:
                yield from _batches(file, is_last=is_last)
            if is_last:
                return
            clock.sleep(POLL_SECONDS)
    finally:
        if file is not None:
            file.close()


def _opened(log: RunLog) -> BinaryIO | None:
    try:
        return log.path.open("rb")
    except FileNotFoundError:
        return None


def _batches(file: BinaryIO, *, is_last: bool) -> Iterator[Sequence[str]]:
    """Yield the whole lines from here on. The run may be in the middle of a line: its rest comes later."""
    batch: list[str] = []
    while True:
        start = file.tell()
        piece = file.readline(LONGEST_PIECE)
        is_whole = piece.endswith(b"\n") or len(piece) == LONGEST_PIECE
        if not is_whole and not (is_last and piece):
            file.seek(start)
            break
        batch.append(piece.removesuffix(b"\n").decode("utf-8", "replace"))
        if len(batch) == LARGEST_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
