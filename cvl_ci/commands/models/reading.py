"""The bytes of a file from its source, over every cut and pause of that source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from cvl_ci.backoff import Backoff
from cvl_ci.errors import CvlError, HubError
from cvl_ci.model.snapshot import ModelFile, Snapshot
from cvl_ci.ports import Clock
from cvl_ci.ports.models import ModelSource, SourceHiccup

T = TypeVar("T")

PATIENCE = Backoff(tries=9, first_seconds=1.0, longest_seconds=300.0, jitter=0.2)
"""The hub counts requests in windows of five minutes (huggingface.co/docs/hub/rate-limits)."""
MOST_HICCUPS = 200
"""Of one file, however much comes between them."""
SLOW_SECONDS, LEAST_SPEED = 60.0, 10_000
"""A connection that brought fewer bytes a second in this time is as good as cut."""


class UploadStopped(CvlError):
    """The end of a transfer because another one failed, or a person stopped it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A source, with patience.

    `stopped`: set when the transfer shall end. `pause`: waits so many seconds, or until then.
    """

    source: ModelSource
    clock: Clock
    stopped: threading.Event
    pause: Callable[[float], object]
    warn: Callable[[str], None]

    def snapshot(self, repo: str, revision: str) -> Snapshot:
        """Return a snapshot. Raises HubError for a source that stays busy."""
        return self._patiently(lambda: self.source.snapshot(repo, revision), repo)

    def pieces(self, snapshot: Snapshot, file: ModelFile, *, start: int, end: int) -> Iterator[bytes]:
        """Yield exactly the bytes from `start` to `end`. Raises HubError for a source that gives up too often."""
        position, failures = start, 0
        for _ in range(MOST_HICCUPS):
            before = position
            try:
                for piece in self._opened(snapshot, file, position, end):
                    position += len(piece)
                    yield piece
                if position >= end:
                    return
                cut = SourceHiccup(f"the transfer ended after {position} of {file.size} bytes")
            except SourceHiccup as hiccup:
                cut = hiccup
            failures = 1 if position > before else failures + 1
            if failures >= PATIENCE.tries:
                raise _given_up(file.path, cut)
            self._pause(cut, failures - 1, file.path)
        raise HubError(f"The source cut {file.path} {MOST_HICCUPS} times.")

    def _opened(self, snapshot: Snapshot, file: ModelFile, start: int, end: int) -> Iterator[bytes]:
        since, position = self.clock.monotonic(), start
        with self.source.read(snapshot, file, start=start) as pieces:
            for piece in pieces:
                if self.stopped.is_set():
                    raise UploadStopped("The upload was stopped.")
                part = piece[: end - position]
                position += len(part)
                yield part
                if position >= end:
                    return
                seconds = self.clock.monotonic() - since
                if seconds > SLOW_SECONDS and position - start < seconds * LEAST_SPEED:
                    raise SourceHiccup(f"fewer than {LEAST_SPEED // 1000} kB a second arrive")

    def _patiently(self, do: Callable[[], T], name: str) -> T:
        for attempt in range(PATIENCE.tries):
            try:
                return do()
            except SourceHiccup as hiccup:
                if attempt == PATIENCE.tries - 1:
                    raise _given_up(name, hiccup) from None
                self._pause(hiccup, attempt, name)
        raise AssertionError(name)

    def _pause(self, hiccup: SourceHiccup, attempt: int, name: str) -> None:
        seconds = PATIENCE.seconds(attempt, requested=hiccup.seconds)
        self.warn(f"{name}: {hiccup}. The next try follows in {seconds:.0f} s.")
        self.pause(seconds)
        if self.stopped.is_set():
            raise UploadStopped("The upload was stopped.")


def _given_up(name: str, hiccup: SourceHiccup) -> HubError:
    return HubError(
        f"{name} could not be read after {PATIENCE.tries} tries: {hiccup}.",
        next_step="Try again later: an upload continues where it ended.",
    )
