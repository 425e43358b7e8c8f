"""The hard limit of a machine as a heartbeat: renewed while a runner is attached, never past the deadline.

A runner that is lost renews no more, and the machine ends minutes later instead of at its deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

RETRY_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 150.0


def minutes_at(now: float, *, deadline: float, heartbeat: float) -> int:
    """Whole minutes that the machine may have at this moment; 0: there is less than one left to its deadline.

    `heartbeat`: minutes, 0 for none.
    """
    left = int(max(0.0, deadline - now) // 60)
    return min(left, max(1, int(heartbeat))) if heartbeat else left


class Heartbeat(threading.Thread):
    """`renew(minutes)` arms the machine's own end anew; it may raise, as a network does, and is tried again."""

    def __init__(
        self,
        renew: Callable[[int], None],
        *,
        minutes: float,
        deadline: float,
        now: Callable[[], float] = time.time,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self._renew = renew
        self._minutes = minutes
        self._deadline = deadline
        self._now = now
        self._failed = failed
        self._stopped = threading.Event()
        self._renewing = threading.Lock()

    def run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = self._beat()

    def stop(self) -> None:
        """Afterwards no renewal is under way, and none follows."""
        self._stopped.set()
        with self._renewing:
            pass

    def _beat(self) -> float:
        """Seconds until the next one."""
        minutes = minutes_at(self._now(), deadline=self._deadline, heartbeat=self._minutes)
        if minutes < 1:
            self._stopped.set()  # what was armed last ends it, and the job's own limit came before
            return 0.0
        with self._renewing:
            if self._stopped.is_set():
                return 0.0
            try:
                self._renew(minutes)
            except Exception as error:  # noqa: BLE001  whatever it was: until the machine ends there is time to try again
                self._failed(f"{type(error).__name__}: {error}"[:300])
                return RETRY_SECONDS
        return min(LONGEST_PAUSE_SECONDS, self._minutes * 60 / 4)


_beating: list[Heartbeat] = []
"""Of this process: one drives one machine."""


def begin(end_in: Callable[[int], None], *, minutes: float, deadline: float, send: Callable[..., None]) -> None:
    """`end_in(minutes)` arms the machine's own end. In place of the one that beats; without `minutes`, none."""
    if not minutes:
        return
    rest()

    def renew(left: int) -> None:
        began = time.monotonic()
        end_in(left)
        send("renewed", minutes=left, seconds=time.monotonic() - began)

    heart = Heartbeat(renew, minutes=minutes, deadline=deadline, failed=lambda text: send("not_renewed", text=text))
    _beating.append(heart)
    heart.start()


def rest() -> None:
    while _beating:
        _beating.pop().stop()
