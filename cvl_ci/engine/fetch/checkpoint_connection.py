"""Bring checkpoints from a machine within bounds: it may send without end, or nothing. Tell of each byte that came."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from cvl_ci.engine import node_commands
from cvl_ci.engine.fetch import transfer

SLACK_BYTES = 2 << 20
"""Bytes next to the files: a login shell may print first."""
WATCH_SECONDS, STALL_SECONDS = 0.5, 120.0
LIST_BYTES, LIST_SECONDS = 256 << 10, 30.0

Tell = Callable[..., None]


class CopyIsOver(Exception):
    """The job is over: no further transfer begins."""


class CheckpointConnection:
    """The connection to a machine's folder `place`. `runners`: SkyPilot's own. It tells `checkpoint_bytes`."""

    def __init__(self, place: str, *, runners: Callable[[], Sequence[Any]], tell: Tell) -> None:
        self.place = place
        self._runners, self._tell = runners, tell
        self._over = threading.Event()

    def printed(self, command: str, into: Path) -> str:
        """Return the text that a command prints, through a file of `into`. Raise RuntimeError if it fails."""
        into.mkdir(parents=True, exist_ok=True)
        file = into / "printed"
        with self._bounded(_Arrivals(into, self._tell), most=LIST_BYTES, seconds=LIST_SECONDS) as cut_off:
            code = self._runner().run(
                command, log_path=str(file), process_stream=False, stream_logs=False, separate_stderr=True
            )
        self._raise_if_over()
        if cut_off.is_set():
            raise RuntimeError("the machine did not list its checkpoints in time, or within the size of a list")
        if code:
            raise RuntimeError(f"the machine did not list its checkpoints (status {code})")
        with file.open("rb") as opened:
            return opened.read(LIST_BYTES).decode("utf-8", "replace")

    def bring(self, files: Sequence[tuple[str, int]], into: Path) -> list[str]:
        """Copy files, by name below the place and size, to `into`, which is named 0. Return the problems."""
        arrivals = _Arrivals(into.parent, self._tell)
        with self._bounded(arrivals, most=sum(size for _, size in files) + SLACK_BYTES):
            problems = node_commands.bring(
                [self._runner()], remote=self.place, files=[files], into=into.parent, dropped=arrivals.add_dropped
            )
        self._raise_if_over()
        return problems

    def end(self) -> None:
        """End the transfer under way, and let no further one begin."""
        self._over.set()
        _end_programs(self.place)

    def _runner(self) -> _UntilOver:
        return _UntilOver(self._runners()[0], self._raise_if_over)

    def _raise_if_over(self) -> None:
        if self._over.is_set():
            raise CopyIsOver

    @contextmanager
    def _bounded(self, arrivals: _Arrivals, *, most: int, seconds: float = math.inf) -> Iterator[threading.Event]:
        """End a transfer that brings more than `most` bytes, nothing for STALL_SECONDS, or that takes longer.

        Yield the event that tells so.
        """
        is_over, cut_off = threading.Event(), threading.Event()

        def watch() -> None:
            before, moved_at = 0, monotonic()
            until = moved_at + seconds
            while not is_over.wait(WATCH_SECONDS):
                count, now = arrivals.count(), monotonic()
                if count != before:  # fewer, where a file begins again
                    before, moved_at = count, now
                if count > most or now - moved_at > STALL_SECONDS or now > until:
                    cut_off.set()
                    _end_programs(self.place)

        watcher = threading.Thread(target=watch, daemon=True, name="checkpoint-bounds")
        watcher.start()
        try:
            yield cut_off
        finally:
            is_over.set()
            watcher.join()
            arrivals.count()


class _Arrivals:
    """The bytes that came into a folder. A file that came again counts each time, as the cloud bills it."""

    def __init__(self, folder: Path, tell: Tell) -> None:
        self._folder, self._tell = folder, tell
        self._dropped = self._told = 0

    def add_dropped(self, count: int) -> None:
        """Count bytes of the folder that are removed now."""
        self._dropped += count

    def count(self) -> int:
        """Tell of the bytes since the last count. Return the bytes in the folder."""
        count, _ = transfer.arrived(self._folder)
        total = count + self._dropped
        if total > self._told:
            self._tell("checkpoint_bytes", bytes=total - self._told)
            self._told = total
        return count


class _UntilOver:
    """A connection of SkyPilot that runs nothing more when the job is over."""

    def __init__(self, runner: Any, check: Callable[[], None]) -> None:
        self._runner, self._check = runner, check

    def run(self, command: str, **options: Any) -> Any:
        self._check()
        return self._runner.run(command, **options)


def _end_programs(place: str) -> None:
    """End each program of this process whose command line names the place, with its children."""
    import psutil  # type: ignore[import-untyped]  # SkyPilot brings it

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if place in " ".join(child.cmdline()):
                for one in (*child.children(recursive=True), child):  # a shell's own child would write on without it
                    one.kill()
