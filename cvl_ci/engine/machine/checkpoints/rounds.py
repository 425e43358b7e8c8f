"""Store new checkpoints again and again until the job is over, and once more when the provider gives notice.

A program for the machine's own Python. One round looks, waits a beat, and stores each checkpoint that is complete.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from . import scan, snapshot, sync

BEAT_SECONDS = 1.0
"""A file that has not changed for so long is at rest. After a notice too: a torn checkpoint does not help."""
RETRY_SECONDS = 5.0
"""The time after a round without an answer of the bucket, or with a checkpoint that the job was writing."""
END_SECONDS = 90.0
"""The time for the bucket to answer after the job. Each second of it is paid for."""
ABSENT_SECONDS = 30.0
"""A node that has no file of a checkpoint so long after another node stored its part will not write one."""
REGULAR, NOTICE, END = "regular", "notice", "end"


States = dict[str, Mapping[str, scan.FileState]]


class Request(NamedTuple):
    """`bases`: the folders to look in, by short names. `scratch`: a folder for links, on the same disk.

    `interval`: seconds. `keep`: how many checkpoints stay. `generation`: the number of the machines, from 1.
    """

    bases: Mapping[str, str]
    rules: snapshot.Rules
    scratch: str
    interval: float = 300.0
    keep: int = 3
    rank: int = 0
    nodes: int = 1
    generation: int = 1


class Rounds:
    """The rounds of one node. `stored_states`: the files of checkpoints that need no upload."""

    def __init__(
        self,
        request: Request,
        store: sync.Store,
        *,
        say: Callable[[str], None],
        stored_states: States | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.request, self.store, self._say, self._clock, self._sleep = request, store, say, clock, sleep
        self.stored_states: States = dict(stored_states or {})
        self.is_behind = False
        """Whether the last round saw a new checkpoint that was not complete."""
        self._count = 0

    def round(self, reason: str = REGULAR) -> bool:
        """Store new checkpoints. Return False without an answer of the place, or of this disk."""

        def store() -> None:
            self._store_new(reason)
            sync.prune(self.store, keep=self.request.keep, rank=self.request.rank)

        return self._has_answer(store) and self.answer_others()

    def answer_others(self) -> bool:
        """Store that this node has no file of a checkpoint that other nodes stored, as often the first node alone has.

        Return False without an answer.
        """
        return self.request.nodes == 1 or self._has_answer(self._declare_absent_ones)

    def _has_answer(self, do: Callable[[], None]) -> bool:
        try:
            do()
        except (sync.NoAnswer, OSError) as error:
            self._say(f"the checkpoints could not be stored now: {type(error).__name__}: {str(error)[:200]}")
            return False
        return True

    def _store_new(self, reason: str) -> None:
        request, units = self.request, snapshot.units(self.request.bases, self.request.rules)
        newest = sorted(units, key=lambda unit: (unit.newest_ns, scan.step_of(unit.name)))[-request.keep :]
        snapshots: list[snapshot.HeldCheckpoint] = []
        at = self._clock()
        try:
            # The newest first: a machine may end at any moment.
            fresh = [unit for unit in reversed(newest) if self.stored_states.get(unit.name) != unit.states]
            snapshots += [one for unit in fresh if (one := self._snapshot(unit))]
            if snapshots:
                self._sleep(BEAT_SECONDS)
            are_stored = [one.is_complete() and self._upload(one, at=at, reason=reason) for one in snapshots]
            self.is_behind = not all(are_stored)
        finally:
            for one in snapshots:
                one.drop()

    def _snapshot(self, unit: snapshot.Unit) -> snapshot.HeldCheckpoint | None:
        """Return the checkpoint, held still. None: the job has just removed it, or this disk cannot hold it."""
        self._count += 1
        try:
            return snapshot.HeldCheckpoint(unit, os.path.join(self.request.scratch, str(self._count)))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(f"{unit.path} cannot be held still to be stored: {error}")
            return None

    def _upload(self, one: snapshot.HeldCheckpoint, *, at: float, reason: str) -> bool:
        """Store a checkpoint. Return False if the job has changed it meanwhile."""
        start, unit = time.monotonic(), one.unit
        part = self._part(unit.name, at)._replace(folder=one.folder, paths=one.paths, reason=reason)
        sync.upload(self.store, part, is_same=one.is_same)
        if not one.is_same():
            return False
        self.stored_states[unit.name] = unit.states
        size = sum(state.size for state in unit.states.values())
        self._say(f"stored {unit.path}, {size / 1e6:.1f} MB, in {time.monotonic() - start:.1f} s")
        return True

    def _declare_absent_ones(self) -> None:
        present = {unit.name for unit in snapshot.units(self.request.bases, self.request.rules)}
        for part in sync.waiting_parts(self.store, generation=self.request.generation, rank=self.request.rank):
            if part["name"] not in present and self._clock() - part["at"] >= ABSENT_SECONDS:
                sync.declare_absent(self.store, self._part(part["name"], part["at"]))

    def _part(self, name: str, at: float) -> sync.Part:
        one = self.request
        return sync.Part("", name, (), at, rank=one.rank, nodes=one.nodes, generation=one.generation)


class Watch(NamedTuple):
    """The events of a job. `is_over`: the job has ended. `has_notice`: the provider takes the machine away soon."""

    is_over: Callable[[], bool]
    has_notice: Callable[[], bool]
    pause: Callable[[], object]


def until_over(rounds: Rounds, watch: Watch, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Do a round at each interval, one at the provider's notice, and one when the job is over."""
    interval, was_noticed = rounds.request.interval, False
    following, answering = clock() + interval, clock() + ABSENT_SECONDS
    while not watch.is_over():
        watch.pause()
        if watch.has_notice() and not was_noticed:
            was_noticed = rounds.round(NOTICE) and not rounds.is_behind
        elif (start := clock()) >= following:
            is_done = rounds.round() and not rounds.is_behind
            # Counted from the start of a round: a loss repeats no more than an interval and the time of one round.
            following = max(clock() + min(interval, RETRY_SECONDS), start + interval if is_done else 0.0)
        elif rounds.request.nodes > 1 and clock() >= answering:
            rounds.answer_others()
            answering = clock() + ABSENT_SECONDS
    end = clock() + END_SECONDS
    while not rounds.round(END) and clock() < end:
        watch.pause()
