"""Wait for the machine of a key while another run uses it, or go on without the key, as the plan says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from cvl_ci.commands.run.state import RunState
from cvl_ci.errors import CapacityError, EngineError
from cvl_ci.model.outcome import Phase
from cvl_ci.model.reuse import IfBusy, ReusePlan, lock_name
from cvl_ci.ports import KeyLock
from cvl_ci.result.units import duration

LOOK_SECONDS = 1.0


@contextmanager
def key_held(state: RunState) -> Iterator[None]:
    """Hold the machine's key during a run. While another run has it, wait, or go on without the key, as asked."""
    reuse, locks = state.plan.machines.reuse, state.ports.locks
    if reuse is None:
        yield
        return
    if locks is None:
        raise EngineError("This entry point has no machines that wait between runs.")
    state.launches.key_lock = _wait_for_lock(state, reuse)
    try:
        yield
    finally:
        state.launches.release_key()


def _wait_for_lock(state: RunState, reuse: ReusePlan) -> KeyLock | None:
    locks, wait = state.ports.locks, Wait(state, reuse)
    name = lock_name(state.owner.user_id, reuse.key)
    while locks is not None:
        if (lock := locks.acquire(name)) is not None:
            wait.end()
            return lock
        if not wait.goes_on():
            break
    return None


class Wait:
    """The wait of a run for a machine that another one uses. It lasts as long as such a machine may live, at most."""

    def __init__(self, state: RunState, reuse: ReusePlan, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._state, self._reuse, self._look_seconds = state, reuse, look_seconds
        self._began: float | None = None
        self._phase: Phase | None = None

    def goes_on(self) -> bool:
        """Wait for a moment. Return False after the plan was changed to a machine of its own, which ends with its run.

        Raises CapacityError where the machine stays in use.
        """
        state, reuse, clock = self._state, self._reuse, self._state.ports.clock
        words = f"reuse {reuse.key}: another run uses the machine"
        if reuse.if_busy is IfBusy.NEW:
            state.ports.reporter.show(f"{words}, so this run has one of its own")
            limits = replace(state.plan.limits, keep_minutes=0.0, keeps_after_success=False)
            alone = replace(state.plan.machines, reuse=None)
            state.plan = replace(state.plan, machines=alone, limits=limits)
            state.launches.release_key()
            return False
        if self._began is None:
            state.ports.reporter.show(f"{words}; this run waits for it, and costs nothing")
            self._began, self._phase = clock.monotonic(), state.timeline.phase
            state.enter(Phase.WAITING)
        if clock.monotonic() - self._began > reuse.max_age_minutes * 60:
            raise CapacityError(
                f"The machine of reuse {reuse.key} was in use for {duration(reuse.max_age_minutes * 60)}.",
                money="This run requested nothing.",
                next_step="Use `if_busy: new`, or another key.",
            )
        clock.sleep(self._look_seconds)
        return True

    def end(self) -> None:
        """Go on with the phase before the wait."""
        if self._began is not None:
            self._state.enter(self._phase)
