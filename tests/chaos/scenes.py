"""What can be done to a run: a phase, a kill, who comes after it, and which lines of the promise are cut. Pure.

The lines: 1 the run itself, 2 post (in a terminal: `cvl-ci down`), 3 the machine's own timer, heartbeat and autodown,
4 `cvl-ci reap`. Of a detached run, `cvl-ci collect` is one more, and of a queue the same queue again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

RECOVERING = "recovering"
"""The provider took the spot machine of the running job, and the run replaces it."""
DETACHING = "detaching"
"""The job of a detached run has begun, and the run hands its machine over."""
COLLECTING = "collecting"
"""The results of a detached run are stored, and another process collects them: that process is killed."""
OF_DETACHED_RUNS = (DETACHING, COLLECTING)
QUEUED = "queued"
"""The first job of a queue has ended, and the second one runs on the same machine."""
REUSED = "reused"
"""A run has entered a machine that waited between runs, and its job runs."""
OF_WARM_MACHINES = (QUEUED, REUSED)
PHASES = (
    "provisioning", "setup", "running", RECOVERING, "fetching", "releasing", *OF_DETACHED_RUNS, *OF_WARM_MACHINES
)  # fmt: skip
COLLECT, AGAIN = 5, 6
LINES = {
    1: "the run itself",
    2: "post or `down`",
    3: "the machine",
    4: "`reap`",
    COLLECT: "`collect`",
    AGAIN: "the same queue again",
}
BEFORE = 0
"""Stands where a line is named: the provider showed nothing any more when the kill came."""

LOST = "answer of RunInstances lost"
"""A launch gives up on it within seconds, and the run then ends by itself: the kill has to come before."""
EXPIRED = "credentials expired for good"
"""Then nobody who comes after main with main's own can do anything: the second line is cut."""
LASTS = {
    "provisioning": 25.0, "setup": 3.0, "running": 4.0, RECOVERING: 40.0, "fetching": 1.5, "releasing": 3.0,
    DETACHING: 10.0, COLLECTING: 15.0, QUEUED: 6.0, REUSED: 6.0,
}  # fmt: skip
"""Seconds of a phase within which a kill is drawn; one that comes later than the phase's end is a kill as well."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`door`: `terminal` (cvl-ci run) or `step` (the action's main and post, as processes).

    `kill`: a signal to main alone; `runner-lost`, SIGKILL to all of its processes; `frozen`, all of them stopped until
    post is through; or `none`. `then`: who comes after it: `nobody`, `post`, `two posts` at once, `reap`, `collect`,
    `again` (the same queue).
    `blind`: the machine's own end is cut, on the machine.
    """

    door: str
    phase: str
    kill: str
    then: str = "nobody"
    mishap: str = ""
    blind: bool = False

    @property
    def cut(self) -> tuple[int, ...]:
        left = {
            1: self.phase != COLLECTING
            and (self.kill == "none" or (self.door == "terminal" and self.kill in {"SIGINT", "SIGTERM"})),
            2: self.then in {"post", "two posts"} and self.mishap != EXPIRED,
            3: not self.blind,
            4: self.then == "reap",
        }
        return tuple(line for line, stands in left.items() if not stands)

    @property
    def first(self) -> int:
        """The line that should catch it: the first in time of those that stand."""
        if self.then == "collect" and 1 in self.cut:
            return COLLECT
        if self.then == "again" and 1 in self.cut:
            return AGAIN
        return next(line for line in (1, 2, 4, 3) if line not in self.cut)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One run of a schedule. `delay`: seconds from the phase's beginning to the kill."""

    seed: int
    number: int
    scene: Scene
    delay: float


def table() -> list[Scene]:
    """Every phase × every kill, every line alone, and what else may go wrong.

    Provisioning is there three times: it lasts longest, and most leaks that SkyPilot's users tell of began there.
    """
    kills = list(_kills())
    early = [scene for scene in kills if scene.phase == "provisioning"]
    return [*kills, *early, *early, *_of_detached_runs(), *_of_warm_machines(), *_alone(), *_mishaps()]


def _kills() -> Iterator[Scene]:
    for phase in (phase for phase in PHASES if phase not in (*OF_DETACHED_RUNS, *OF_WARM_MACHINES)):
        for kill in ("SIGINT", "SIGTERM"):
            yield Scene(door="terminal", phase=phase, kill=kill)
            yield Scene(door="step", phase=phase, kill=kill, then="post")
        yield Scene(door="terminal", phase=phase, kill="SIGKILL", then="post")
        yield Scene(door="step", phase=phase, kill="SIGKILL", then="post")
        yield Scene(door="step", phase=phase, kill="SIGKILL", then="two posts")
        yield Scene(door="step", phase=phase, kill="SIGKILL", then="reap")
        yield Scene(door="step", phase=phase, kill="runner-lost")
        yield Scene(door="step", phase=phase, kill="frozen", then="post")


def _of_detached_runs() -> Iterator[Scene]:
    """In a terminal: the action refuses to detach on a sandbox, whose machines end with the runner."""
    for phase in OF_DETACHED_RUNS:
        for kill in ("SIGINT", "SIGTERM"):
            yield Scene(door="terminal", phase=phase, kill=kill, then="collect")
        yield Scene(door="terminal", phase=phase, kill="SIGKILL", then="post")
        yield Scene(door="terminal", phase=phase, kill="SIGKILL", then="collect")
        yield Scene(door="terminal", phase=phase, kill="SIGKILL", then="reap")
        yield Scene(door="terminal", phase=phase, kill="runner-lost")
        yield Scene(door="terminal", phase=phase, kill="runner-lost", then="collect")
        yield Scene(door="terminal", phase=phase, kill="frozen", then="post")
    for kill in ("SIGINT", "SIGKILL", "runner-lost", "frozen"):
        yield Scene(door="terminal", phase=COLLECTING, kill=kill, then="collect", blind=True)


def _of_warm_machines() -> Iterator[Scene]:
    for phase in OF_WARM_MACHINES:
        for kill in ("SIGINT", "SIGTERM"):
            yield Scene(door="terminal", phase=phase, kill=kill)
            yield Scene(door="step", phase=phase, kill=kill, then="post")
        for door in ("terminal", "step"):
            yield Scene(door=door, phase=phase, kill="SIGKILL", then="post")
            yield Scene(door=door, phase=phase, kill="SIGKILL", then="reap")
            yield Scene(door=door, phase=phase, kill="runner-lost")
            yield Scene(door=door, phase=phase, kill="frozen", then="post")
    for kill in ("SIGKILL", "runner-lost"):
        yield Scene(door="terminal", phase=QUEUED, kill=kill, then="again")
        yield Scene(door="terminal", phase=QUEUED, kill=kill, then="again", blind=True)


def _alone() -> Iterator[Scene]:
    for phase in ("setup", "running"):
        yield Scene(door="terminal", phase=phase, kill="SIGINT", blind=True)
        yield Scene(door="step", phase=phase, kill="SIGKILL", then="post", blind=True)
        yield Scene(door="step", phase=phase, kill="SIGKILL", then="reap", blind=True)


def _mishaps() -> Iterator[Scene]:
    """Names are those of mishaps.py."""
    early, late = "provisioning", "running"
    yield Scene(door="step", phase=early, kill="SIGKILL", then="post", mishap=LOST)
    yield Scene(door="terminal", phase=early, kill="SIGINT", mishap=LOST)
    for mishap in ("TerminateInstances throttled for 2 min", "TerminateInstances fails in a region for 1 min"):
        yield Scene(door="terminal", phase=late, kill="SIGINT", mishap=mishap)
        yield Scene(door="step", phase=early, kill="SIGKILL", then="post", mishap=mishap)
        yield Scene(door="step", phase=late, kill="SIGKILL", then="reap", mishap=mishap)
    for mishap in ("provider away for 30 s", "provider answers 503 for 30 s"):
        yield Scene(door="terminal", phase="releasing", kill="none", mishap=mishap)
        yield Scene(door="step", phase=early, kill="SIGTERM", then="post", mishap=mishap)
        yield Scene(door="step", phase=early, kill="SIGKILL", then="reap", mishap=mishap)
    yield Scene(door="terminal", phase=late, kill="SIGINT", mishap="credentials expired for 1 min")
    yield Scene(door="step", phase=early, kill="SIGKILL", then="post", mishap="credentials expired for 1 min")
    yield Scene(door="step", phase=late, kill="SIGTERM", then="post", mishap=EXPIRED)
    for mishap in ("SkyPilot's records deleted", "SkyPilot's records corrupted", "HOME read-only", "disk full"):
        yield Scene(door="step", phase=early, kill="SIGKILL", then="post", mishap=mishap)
        yield Scene(door="terminal", phase=late, kill="SIGKILL", then="post", mishap=mishap)
    yield Scene(door="terminal", phase=late, kill="none", mishap="a machine of two lost")
    yield Scene(door="step", phase=late, kill="SIGTERM", then="post", mishap="a machine of two lost")
    yield Scene(door="terminal", phase="fetching", kill="none", mishap="the machine lost")
    yield Scene(door="step", phase="fetching", kill="SIGINT", then="post", mishap="the machine lost")
    yield Scene(door="step", phase=early, kill="SIGKILL", then="post", mishap="two legs in one HOME")
    yield Scene(door="step", phase=late, kill="SIGINT", then="post", mishap="two legs in one HOME")
    yield Scene(door="step", phase=early, kill="runner-lost", mishap="clock an hour fast")
    yield Scene(door="step", phase=early, kill="SIGKILL", then="post", mishap="clock an hour fast")
    yield Scene(door="terminal", phase=early, kill="SIGINT", mishap="clock an hour slow")


def drawn(seed: int, number: int) -> Drawn:
    """Run `number` of the schedule of `seed`: the table in an order of its own, again and again, each time another."""
    scenes = table()
    lap, place = divmod(number, len(scenes))
    random.Random(f"{seed}/lap {lap}").shuffle(scenes)
    scene = scenes[place]
    longest = 5.0 if scene.mishap == LOST else LASTS[scene.phase]
    delay = random.Random(f"{seed}/run {number}").uniform(0.0, longest)
    return Drawn(seed=seed, number=number, scene=scene, delay=round(delay, 1))
