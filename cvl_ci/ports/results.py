"""The port that reads the results of a detached run from the place in which its machine stored them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import Detached
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.ports.jobs import Fetched


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of the results, as its manifest names it."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DetachedEnd:
    """The end of a detached job, by its manifest: the words of a machine. `ended_at`: epoch seconds of its clock."""

    node: NodeEnd
    ended_at: float
    files: tuple[StoredFile, ...] = ()
    problem: str = ""


class Results(Protocol):
    """The results of detached runs. A machine chose their bytes: every read has a bound."""

    def end(self, place: BucketAddress) -> DetachedEnd | None:
        """Return the end; None: the machine has stored none. Raise EngineError without an answer."""

    def fetch(self, detached: Detached, end: DetachedEnd | None, *, into: Path, line: Callable[[str], None]) -> Fetched:
        """Bring log and outputs. `line` gets each line of the log. `end` None: only the log so far. Never raises."""
