"""What goes wrong besides the kill: at the provider, in SkyPilot's records, on the runner's disk, with other machines.

Each is begun before main, at the kill, or around whoever comes after, and is undone by the end of its `with`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cvl_ci.sandbox import Faults, Throttle
from tests.chaos.scenes import EXPIRED, LOST
from tests.chaos.stage import Stage

TROUBLED = "us-east-1"
"""The region that is asked first."""


@dataclass(frozen=True, kw_only=True)
class Mishap:
    """`faults`: of the provider, from the kill on and for so many seconds; 0: from before main, to its end.

    `at_kill`: done to the stage at the moment of the kill. `before_post`: shell words that run before post, in a mount
    namespace of its own; `$HOME` and `$SKYPILOT` are the person's and SkyPilot's. `neighbour`: another leg of the
    matrix runs in the same HOME at the same time, and is to come to its own end. `clock_seconds`: main's is fast by it.
    """

    faults: Faults | None = None
    expired: bool = False
    seconds: float = 0.0
    at_kill: Callable[[Stage], None] | None = None
    before_post: str = ""
    num_nodes: int = 1
    neighbour: bool = False
    clock_seconds: float = 0.0


def _delete_records(stage: Stage) -> None:
    for path in _records(stage):
        path.unlink()


def _corrupt_records(stage: Stage) -> None:
    for path in _records(stage):
        path.write_bytes(b"\x00not a database\xff" * 512)


def _records(stage: Stage) -> list[Path]:
    """SkyPilot's, with what SQLite keeps beside them; other runs' are none of ours: it is this stage's own HOME."""
    return sorted((stage.skypilot_home / ".sky").glob("state.db*"))


def _lose_a_machine(stage: Stage) -> None:
    there = [each.id for each in stage.sandbox.status().instances if each.state == "running"]
    stage.sandbox.kill(max(there))


READ_ONLY = 'for each in "$HOME" "$SKYPILOT"; do mount --bind "$each" "$each"; mount -o remount,ro,bind "$each"; done'
FULL = (
    'for each in "$HOME" "$SKYPILOT"; do kept="$(mktemp -d)"; cp -a "$each/." "$kept"; '
    'size="$(du --summarize --block-size=4096 "$kept" | cut -f1)"; '
    'mount -t tmpfs -o size=$(((size + size / 4 + 64) * 4096)) tmpfs "$each"; cp -a "$kept/." "$each"; rm -rf "$kept"; '
    'head -c 10G /dev/zero > "$each/filled" 2> /dev/null || true; done'
)
MISHAPS: Mapping[str, Mishap] = {
    "": Mishap(),
    LOST: Mishap(faults=Faults(lost_answers=("RunInstances",))),
    "TerminateInstances throttled for 2 min": Mishap(
        faults=Faults(throttle=(Throttle(action="TerminateInstances"),)), seconds=120
    ),
    "TerminateInstances fails in a region for 1 min": Mishap(faults=Faults(terminate_fails=(TROUBLED,)), seconds=60),
    "provider away for 30 s": Mishap(faults=Faults(api_down="closed"), seconds=30),
    "provider answers 503 for 30 s": Mishap(faults=Faults(api_down="503"), seconds=30),
    "credentials expired for 1 min": Mishap(expired=True, seconds=60),
    EXPIRED: Mishap(expired=True, seconds=math.inf),
    "SkyPilot's records deleted": Mishap(at_kill=_delete_records),
    "SkyPilot's records corrupted": Mishap(at_kill=_corrupt_records),
    "HOME read-only": Mishap(before_post=READ_ONLY),
    "disk full": Mishap(before_post=FULL),
    "a machine of two lost": Mishap(at_kill=_lose_a_machine, num_nodes=2),
    "the machine lost": Mishap(at_kill=_lose_a_machine),
    "two legs in one HOME": Mishap(neighbour=True),
    "clock an hour fast": Mishap(clock_seconds=3600),
    "clock an hour slow": Mishap(clock_seconds=-3600),
}


@contextmanager
def from_the_start(mishap: Mishap, stage: Stage) -> Iterator[None]:
    """What stands from before main on. At the end nothing is wrong any more, for the run that comes next."""
    with ExitStack() as undone:
        undone.callback(stage.sandbox.set_faults, Faults())
        if mishap.at_kill is _corrupt_records:
            undone.callback(_delete_records, stage)
        if mishap.faults is not None and not mishap.seconds:
            stage.sandbox.set_faults(mishap.faults)
        yield


def strike(mishap: Mishap, stage: Stage) -> None:
    """At the kill."""
    if mishap.at_kill is not None:
        mishap.at_kill(stage)
    faults = mishap.faults
    if mishap.expired:
        faults = Faults(expired_keys=(stage.sandbox.access().access_key_id,))
    if faults is not None and mishap.seconds:
        stage.sandbox.set_faults(faults)
        if mishap.seconds < math.inf:
            over = threading.Timer(mishap.seconds, stage.sandbox.set_faults, [Faults()])
            over.daemon = True
            over.start()
