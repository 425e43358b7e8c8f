"""Protocols of the launcher that starts the runs of a drill, and of the runs that the drill kills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from cvl_ci.model.outcome import Phase
from cvl_ci.ports import Clock, Clouds


class Run(Protocol):
    """A started `cvl-ci run`, whose output the drill reads."""

    lease: str
    has_requested: bool
    phase: Phase | None
    lines: list[str]

    def wait_for_phase(self, phase: Phase, *, within: float) -> bool: ...

    def wait_until(self, condition: Callable[[], bool], within: float) -> bool: ...

    def send(self, number: int) -> None: ...

    def kill(self) -> None: ...

    def kill_all(self) -> None: ...

    def wait(self, *, within: float) -> int | None: ...

    def close(self) -> None: ...


class Launcher(Protocol):
    """Starter of a drill's runs: it types `cvl-ci` as a person would."""

    def start(self, options: Sequence[str], *, task: str) -> Run:
        """Start `cvl-ci run` with the text of a SkyPilot task."""

    def type(self, words: Sequence[str]) -> Run:
        """Run `cvl-ci …` as a person would, from the folder of the run."""

    def outage(self, kill: str) -> AbstractContextManager[None]:
        """Cut the cloud's API off (`network`) or refuse its keys (`credentials-expired`), until the context ends."""


@dataclass(frozen=True, kw_only=True)
class DrillPorts:
    """Ports that drills need. `say`: writes one line of progress."""

    clouds: Clouds
    launcher: Launcher
    clock: Clock
    say: Callable[[str], None]
