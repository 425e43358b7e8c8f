"""One run of a schedule: killed as drawn, looked at until the provider shows nothing of it, and told."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone

from tests.chaos.family import Family, descendants
from tests.chaos.mishaps import MISHAPS, from_the_start, strike
from tests.chaos.oracle import Provider, Watch
from tests.chaos.run_records import Record
from tests.chaos.scenes import AGAIN, BEFORE, COLLECT, COLLECTING, DETACHING, RECOVERING, REUSED, Drawn
from tests.chaos.stage import RESULT, RESULT_BYTES, Stage, begins, lease_in

STAGING_SECONDS = 1200.0
"""Within which the phase has to begin."""
RELEASE_SECONDS = 600.0
"""Within which whoever comes after main has to end."""
MACHINE_SECONDS = 780.0
"""Within which the machine has to end itself: seven minutes by its timer, three or four by its heartbeat."""
SETTLE_SECONDS = 10.0
"""Nothing may appear any more within this."""
CLOSE = 3.0
"""An ending that was asked for takes that long to be seen."""
LEGS = ('{"leg": "killed"}', '{"leg": "spared"}')
SWEEPS, BETWEEN_SWEEPS = 6, 20.0
COLLECTIONS = 15
"""So often another process collects, until the run is over."""
NOT_PROVED = 79
GOOD = {1: {0, 130}, 2: {0}, 4: {0, 1}, COLLECT: {0}, AGAIN: {0}}
"""Exit codes of each line that did its work; a reaper that had to end something says so by 1."""


@dataclass(kw_only=True)
class Performance:
    drawn: Drawn
    stage: Stage
    watch: Watch
    api: str
    actors: list[tuple[int, Family]] = field(default_factory=list)
    """Line and process, in the order in which they began."""
    killed_at: float = 0.0
    gone_at: float | None = None
    """Since when the provider has shown nothing of it."""
    neighbour: Family | None = None
    warm: str = ""
    """The lease of the machine that waited for the run."""
    orphans: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def play(self) -> bool:
        """Whether it came to the kill."""
        scene = self.drawn.scene
        mishap = MISHAPS[scene.mishap]
        inputs = {"num_nodes": str(mishap.num_nodes), **({"leg": LEGS[0]} if mishap.neighbour else {})}
        if scene.phase == REUSED and not self._has_waiting_machine():
            return False
        main = self._enters(1, self.stage.main(scene, clock_seconds=mishap.clock_seconds, **inputs))
        if mishap.neighbour:
            self._settle_neighbour(main)
        if scene.phase == RECOVERING:
            main.until(lambda line: begins(scene, line, phase="running"), within=STAGING_SECONDS)
            self.stage.take_spot_machines()
        if not self._comes_to_its_phase(main):
            self.wrong.append(f"never came to {scene.phase}: {' / '.join(main.lines[-3:])[:600]}")
            return False
        victim = main
        if scene.phase == COLLECTING:
            if scene.blind:
                self.stage.blind()
            victim = self._enters(COLLECT, self.stage.collect(lease_in(main.lines)))
        victim.wait(within=self.drawn.delay)
        self.orphans = descendants(victim.process.pid)
        if scene.blind and scene.phase != COLLECTING:
            self.stage.blind()
        self.watch.begin()
        self.killed_at = time.monotonic()
        strike(mishap, self.stage)
        self._kill(victim, scene.kill)
        self._come_after(main, victim)
        return True

    def _has_waiting_machine(self) -> bool:
        before = self.stage.waiting_machine()
        code = before.wait(within=STAGING_SECONDS)
        self.warm = lease_in(before.lines)
        before.end()
        if code != 0:
            self.wrong.append(f"no machine waits: {' / '.join(before.lines[-3:])[:600]}")
        return code == 0

    def _comes_to_its_phase(self, main: Family) -> bool:
        scene = self.drawn.scene
        if scene.phase != COLLECTING:
            return main.until(lambda line: begins(scene, line), within=STAGING_SECONDS)
        deadline = time.monotonic() + STAGING_SECONDS
        if main.wait(within=STAGING_SECONDS) != 0:
            return False
        while not self.stage.has_results(lease_in(main.lines)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def wait_until_gone(self) -> None:
        """Until nothing has been seen for a while, or the patience with the line that should catch it is over."""
        scene = self.drawn.scene
        is_by_itself = scene.first == 3 or scene.phase in {DETACHING, REUSED}  # `reap` leaves a machine of a key alone
        patience = MACHINE_SECONDS if is_by_itself else RELEASE_SECONDS
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            gone = self.watch.gone_at
            if gone is not None and time.monotonic() - max(gone, self._last_word()) > SETTLE_SECONDS:
                self.gone_at = gone
                return
            time.sleep(0.5)

    def wait_for_neighbour(self) -> None:
        """It ends as if nothing had been, and from then on its machines are looked at too."""
        if self.neighbour is not None:
            code = self.neighbour.wait(within=STAGING_SECONDS)
            if code != 0:
                self.wrong.append(f"the other leg ended with {code}: {' / '.join(self.neighbour.lines[-4:])[:600]}")
            self.neighbour.end()
            self.watch.provider.living = ""

    def caught(self) -> int | None:
        gone = self.gone_at
        if self.watch.left != [] or gone is None:
            return None
        if gone <= self.killed_at:
            return BEFORE
        for line, actor in reversed(self.actors):
            if actor.began <= gone and (actor.ended is None or gone <= actor.ended + CLOSE):
                return line
        return 3

    def clear(self) -> None:
        for _, actor in self.actors:
            actor.end()
        if self.neighbour is not None:
            self.neighbour.end()
        for _, actor in self.actors:
            actor.end_all(self.orphans)

    def _kill(self, main: Family, kill: str) -> None:
        if kill in {"SIGINT", "SIGTERM", "SIGKILL"}:
            main.signal(signal.Signals[kill])
        elif kill == "runner-lost":
            main.signal_all(signal.SIGKILL)
        elif kill == "frozen":
            main.signal_all(signal.SIGSTOP)

    def _come_after(self, main: Family, victim: Family) -> None:
        scene = self.drawn.scene
        patience = RELEASE_SECONDS if victim is not main and scene.kill in {"SIGINT", "SIGTERM"} else 30.0
        if 1 not in scene.cut:
            self._ends(1, main)
        elif scene.kill != "frozen" and victim.wait(within=patience) is None:
            self.wrong.append("what was killed did not end when told to")
        self._carry_on(self.warm or lease_in(main.lines))
        if scene.kill == "frozen":
            victim.signal_all(signal.SIGCONT)
            if victim.wait(within=RELEASE_SECONDS) is None:
                self.wrong.append(f"what was frozen did not end after {scene.then} was through")

    def _carry_on(self, lease: str) -> None:
        """Play whoever comes after main."""
        scene = self.drawn.scene
        if scene.then in {"post", "two posts"}:
            before, leg = MISHAPS[scene.mishap].before_post, LEGS[0] if self.neighbour else ""
            many = 2 if scene.then == "two posts" else 1
            posts = [self._enters(2, self.stage.post(scene, lease, before=before, leg=leg)) for _ in range(many)]
            for post in posts:
                self._ends(2, post)
        elif scene.then == "reap":
            self._reap_on_schedule()
        elif scene.then == "collect":
            self._collect_on_schedule(lease)
        elif scene.then == "again":
            self._run_again()

    def _run_again(self) -> None:
        """The same queue, which ends the leases of the killed one and runs what had not ended."""
        again = self._enters(AGAIN, self.stage.main(self.drawn.scene))
        self._ends(AGAIN, again)
        if any("first: running" in line for line in again.lines):
            self.wrong.append("a job that had ended ran again")

    def _settle_neighbour(self, main: Family) -> None:
        """The other leg, begun second: what both write in one place, it has written last."""
        main.until(lambda _: True, within=STAGING_SECONDS)
        self.neighbour = self.stage.main(self.drawn.scene, leg=LEGS[1])
        self.neighbour.until(lambda line: bool(lease_in([line])), within=STAGING_SECONDS)
        self.watch.provider.living = lease_in(self.neighbour.lines)

    def _reap_on_schedule(self) -> None:
        """A sweep that had no answer is followed by the next; the last one has to have had it."""
        for sweep in range(SWEEPS):
            if sweep:
                time.sleep(BETWEEN_SWEEPS)
            reaper = self._enters(4, self.stage.reap(api=self.api))
            if reaper.wait(within=RELEASE_SECONDS) in GOOD[4]:
                return
        self.wrong.append(f"no sweep had its answer: {' / '.join(self.actors[-1][1].lines[-4:])[:600]}")

    def _collect_on_schedule(self, lease: str) -> None:
        """Until the run is over. Results that were stored before the kill are to come whole."""
        names = (lease,) if self.drawn.scene.phase == COLLECTING else ()
        for collection in range(COLLECTIONS):
            if collection:
                time.sleep(BETWEEN_SWEEPS)
            collector = self._enters(COLLECT, self.stage.collect(*names))
            if collector.wait(within=RELEASE_SECONDS) in GOOD[COLLECT]:
                break
        else:
            self.wrong.append(f"no collection came to an end: {' / '.join(self.actors[-1][1].lines[-4:])[:600]}")
            return
        result = self.stage.collected / lease / RESULT
        if names and not (result.is_file() and result.stat().st_size == RESULT_BYTES):
            self.wrong.append("the collection ended well without the bytes of the job")

    def _enters(self, line: int, actor: Family) -> Family:
        self.actors.append((line, actor))
        return actor

    def _ends(self, line: int, actor: Family) -> None:
        code = actor.wait(within=RELEASE_SECONDS)
        by_itself = line == 1 and self.drawn.scene.kill == "none" and code is not None and code >= 0
        good = {NOT_PROVED} if line in self.drawn.scene.cut else GOOD[line]
        if code is None:
            self.wrong.append(f"line {line} had not ended after {RELEASE_SECONDS:.0f} s")
        elif code not in good and not (by_itself and code != NOT_PROVED):
            self.wrong.append(f"line {line} ended with {code}: {' / '.join(actor.lines[-4:])[:600]}")

    def _last_word(self) -> float:
        return max((actor.ended or 0.0 for _, actor in self.actors), default=0.0)


def perform(drawn: Drawn, stage: Stage, *, api: str, commit: str, busy: AbstractContextManager[object]) -> Record:
    """`busy` is held while this uses the processor, and not while it waits for a machine to end itself."""
    at = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    stage.write_task(drawn.scene, delay=drawn.delay)
    with from_the_start(MISHAPS[drawn.scene.mishap], stage), _watching(stage) as watch:
        performance = Performance(drawn=drawn, stage=stage, watch=watch, api=api)
        try:
            with busy:
                staged = performance.play()
            if staged:
                performance.wait_until_gone()
                performance.wait_for_neighbour()
        finally:
            performance.clear()
    return _record(performance, at=at, commit=commit)


def _record(performance: Performance, *, at: str, commit: str) -> Record:
    drawn, scene = performance.drawn, performance.drawn.scene
    caught = performance.caught() if performance.killed_at else None
    gone = performance.gone_at or time.monotonic()
    after = [actor for line, actor in performance.actors if line != 1]
    ends = [actor.ended - actor.began for actor in after if actor.ended]
    return Record(
        seed=drawn.seed,
        number=drawn.number,
        commit=commit,
        at=at,
        delay=drawn.delay,
        caught=caught,
        seconds=round(max(0.0, gone - performance.killed_at), 1) if performance.killed_at else 0.0,
        release_seconds=round(max(ends), 1) if ends else None,
        left=tuple(_leftovers(performance)),
        said="; ".join(performance.wrong),
        door=scene.door,
        phase=scene.phase,
        kill=scene.kill,
        then=scene.then,
        mishap=scene.mishap,
        cut=scene.cut,
    )


def _leftovers(performance: Performance) -> Sequence[str]:
    """Of a run that never came to its kill nothing is asked: whatever it left is no leak of a killed run."""
    if not performance.killed_at:
        return ()
    if performance.watch.left is None:
        return ("the provider does not answer",)
    return performance.watch.left


@contextmanager
def _watching(stage: Stage) -> Iterator[Watch]:
    watch = Watch(Provider(stage.sandbox.access()))
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
        watch.check()
