"""Ask the provider during the job's stream whether all machines of a cluster still exist.

SkyPilot's stream comes from the head. It goes on while another machine is gone. The head waits for that machine as long
as the job may run, at the price of all remaining machines. On two machines SkyPilot 0.14.1 reported nothing for 17
minutes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MISSING_CHECKS = 2
"""Checks in a row that miss a machine: a provider's list may be slightly behind."""
MOST_UNANSWERED = 4
"""Questions that wait for an answer at once. A provider that hangs on one may answer the next."""
ANSWER_SECONDS = 60.0
"""A question without an answer for so long says nothing, as a failed one does."""
CONFIRM_SECONDS = 3.0
"""Seconds from a check that misses a machine to the next one."""


class Roll(threading.Thread):
    """Thread that counts machines. `there()`: how many the provider shows; it may raise.

    `lost(found)` is called once. Then the thread stops.
    """

    def __init__(
        self,
        count_machines: Callable[[], int],
        *,
        nodes: int,
        lost: Callable[[int], None],
        interval_seconds: float,
        confirm_seconds: float = CONFIRM_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        missing_checks: int = MISSING_CHECKS,
    ) -> None:
        super().__init__(daemon=True, name="roll")
        self._there, self._nodes, self._lost, self._every = count_machines, nodes, lost, interval_seconds
        self._confirm = min(confirm_seconds, interval_seconds)
        self._answer_seconds, self._missing_checks = answer_seconds, missing_checks
        self._unanswered: list[threading.Thread] = []
        self._over = threading.Event()

    def run(self) -> None:
        missed = 0
        while not self._over.wait(self._confirm if missed else self._every):
            count = self._count()
            missed = missed + 1 if count < self._nodes else 0
            if missed >= self._missing_checks and not self._over.is_set():
                self._lost(count)
                return

    def _count(self) -> int:
        """Return how many machines there are. A provider that does not answer says nothing about its machines."""
        answers: list[int] = []

        def ask() -> None:
            with suppress(Exception):
                answers.append(self._there())

        self._unanswered = [thread for thread in self._unanswered if thread.is_alive()]
        if len(self._unanswered) >= MOST_UNANSWERED:
            return self._nodes
        thread = threading.Thread(target=ask, daemon=True, name="roll-question")
        thread.start()
        thread.join(self._answer_seconds)
        if thread.is_alive():
            self._unanswered.append(thread)
            return self._nodes
        return answers[0] if answers else self._nodes

    def stop(self) -> None:
        self._over.set()


@contextmanager
def watched(
    count_machines: Callable[[], int],
    *,
    nodes: int,
    lost: Callable[[int], None],
    interval_seconds: float,
    missing_checks: int = MISSING_CHECKS,
) -> Iterator[None]:
    """Watch the machines while they are set up or run a job. SkyPilot may notice minutes later that one is gone."""
    roll = Roll(
        count_machines, nodes=nodes, lost=lost, interval_seconds=interval_seconds, missing_checks=missing_checks
    )
    roll.start()
    try:
        yield
    finally:
        roll.stop()
