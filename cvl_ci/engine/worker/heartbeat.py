"""Renew a machine's hard limit as a heartbeat while a runner is attached, never past the deadline.

A lost runner stops renewing. The machine then ends minutes later instead of at its deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

RETRY_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 150.0


def minutes_at(now: float, *, deadline: float, heartbeat: float) -> int:
    """Return how many whole minutes the machine may run from now; 0: less than one minute remains.

    `heartbeat`: minutes, 0 for none.
    """
    whole_minutes = int(max(0.0, deadline - now) // 60)
    return min(whole_minutes, max(1, int(heartbeat))) if heartbeat else whole_minutes


class Heartbeat(threading.Thread):
    """Thread that renews. `renew(minutes)` arms the machine's own end; it may raise, and is then tried again."""

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
        """Stop. Afterwards no renewal is under way, and none follows."""
        self._stopped.set()
        with self._renewing:
            pass

    def _beat(self) -> float:
        """Renew once, and return the seconds until the next renewal."""
        minutes = minutes_at(self._now(), deadline=self._deadline, heartbeat=self._minutes)
        if minutes < 1:
            self._stopped.set()  # the end that was armed last takes effect, and the job's own limit came before
            return 0.0
        with self._renewing:
            if self._stopped.is_set():
                return 0.0
            try:
                self._renew(minutes)
            except Exception as error:  # noqa: BLE001  after any error there is time to try again
                self._failed(f"{type(error).__name__}: {error}"[:300])
                return RETRY_SECONDS
        return min(LONGEST_PAUSE_SECONDS, self._minutes * 60 / 4)


_beating: list[Heartbeat] = []
"""The heartbeat of this process, which drives one machine."""


def begin(end_in: Callable[[int], None], *, minutes: float, deadline: float, send: Callable[..., None]) -> None:
    """Start a heartbeat in place of the current one; without `minutes`, start none.

    `end_in(minutes)` arms the machine's own end.
    """
    if not minutes:
        return
    rest()

    def renew(minutes_left: int) -> None:
        start = time.monotonic()
        end_in(minutes_left)
        send("renewed", minutes=minutes_left, seconds=time.monotonic() - start)

    heart = Heartbeat(renew, minutes=minutes, deadline=deadline, failed=lambda text: send("not_renewed", text=text))
    _beating.append(heart)
    heart.start()


def rest() -> None:
    while _beating:
        _beating.pop().stop()
