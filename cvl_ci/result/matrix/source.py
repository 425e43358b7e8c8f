"""Recognize summaries of legs, by the place of the file and by a marker in its content. Pure.

A job may write any file into its outputs, which are stored next to the summaries. So the content of a file alone proves
nothing. This program writes a summary as `<lease>.json`, alone, into an artifact of its own whose name ends in `-cost`.
No other artifact of a run has such a name (github/artifacts/name.py).
"""

from __future__ import annotations

import json
import re

from cvl_ci.model.lease_name import LEASE_PATTERN
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.summary import SCHEMA

KINDS = ("cost", "log", "checkpoints")
"""Endings of the names of a run's further artifacts."""
COLLECTED = "cvl-ci-collected-"
"""The start of the names of artifacts that `collect` uploads. The lease follows, which is a step of its own here."""
_COLLECTED = re.compile(rf"({COLLECTED}{LEASE_PATTERN})-cost(?:-\d{{1,2}})?")
_COST = re.compile(r"(?P<step>.+?)(?:-attempt\d+)?(?:-[0-9a-f]{8})?-cost(?:-\d{1,2})?")
_RESERVED = re.compile(rf".*-(?:{'|'.join(KINDS)})(?:-\d{{1,2}})?", re.DOTALL)


def step_of(artifact: str) -> str:
    """Return the step whose summary this artifact holds, whichever attempt wrote it. Empty: it holds no summary."""
    if collected := _COLLECTED.fullmatch(artifact):
        return collected[1]
    match = _COST.fullmatch(artifact)
    return match["step"] if match else ""


def is_reserved(name: str) -> bool:
    """Return whether an artifact of this name would pass for another kind of artifact."""
    return _RESERVED.fullmatch(name) is not None


def read(name: str, content: bytes) -> Leg:
    """Read a summary from an artifact for summaries. `name`: of the file in it. Raises ValueError for other content."""
    leg = marked(content)
    if not leg.machines.cluster or name != f"{leg.machines.cluster}.json":
        raise ValueError("has another name than the run in it")
    return leg


def marked(content: bytes) -> Leg:
    """Read a summary that carries the marker. Raises ValueError for other content."""
    leg = leg_file.read(content)
    if json.loads(content).get("schema") != SCHEMA:
        raise ValueError("is not a summary of a run: it has no `schema`")
    return leg
