"""Which files are summaries of legs: told by the place where a file lies, and by what it says of itself. Pure.

A job writes whatever it likes into its outputs, and they are stored next to the summaries. So no file counts for its
content alone. This program writes a summary as `<lease>.json`, alone, into an artifact of its own whose name ends in
`-cost`. No other artifact of a run has such a name (github/artifacts/name.py).
"""

from __future__ import annotations

import json
import re

from cvl_ci.result.benchmark import leg as legs
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.summary import SCHEMA

KINDS = ("cost", "log", "checkpoints")
"""What the names of a run's further artifacts end in."""
_COST = re.compile(r"(?P<step>.+?)(?:-attempt\d+)?(?:-[0-9a-f]{8})?-cost(?:-\d{1,2})?")
_RESERVED = re.compile(rf".*-(?:{'|'.join(KINDS)})(?:-\d{{1,2}})?", re.DOTALL)


def step_of(artifact: str) -> str:
    """Whose summary the artifact of this name holds, whichever attempt wrote it; empty: it holds none."""
    found = _COST.fullmatch(artifact)
    return found["step"] if found else ""


def is_reserved(name: str) -> bool:
    """Whether an artifact of this name would pass for another kind of artifact."""
    return _RESERVED.fullmatch(name) is not None


def read(name: str, content: bytes) -> Leg:
    """A summary from an artifact for summaries. `name`: of the file in it. Raises ValueError for anything else."""
    leg = marked(content)
    if not leg.cluster or name != f"{leg.cluster}.json":
        raise ValueError("has another name than the run that it tells of")
    return leg


def marked(content: bytes) -> Leg:
    """A summary that carries the marker. Raises ValueError for anything else."""
    leg = legs.read(content)
    if json.loads(content).get("schema") != SCHEMA:
        raise ValueError("is no summary of a run: it carries no `schema`")
    return leg
