"""What main leaves behind for post, in a file under HOME: enough to tell, beside the lease, what it was ending."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Handover:
    """`done`: main told the end itself, proof included. `since`, `hourly_usd`: what is spent from when on.

    `kept_until`: as a person reads it, where the machine of a failed job is kept: its lease is not post's to end.
    `ending`, `reason`, `exit_code`: of a main that came to its end, but not to a proof or not to telling it.
    """

    lease: str
    leg: str
    title: str = ""
    done: bool = False
    since: float = 0.0
    hourly_usd: float = 0.0
    billed: bool = True
    ending: str = ""
    reason: str = ""
    exit_code: int = 0
    kept_until: str = ""


def save(path: Path, handover: Handover) -> None:
    """Whole or not at all. A full disk must not end a run: post can recompute the name."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        half.write_text(written(handover), encoding="utf-8")
        half.replace(path)


def load(path: Path, *, else_from: str = "") -> Handover | None:
    """`else_from`: the same as text, as the runner keeps it for post."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = else_from
    try:
        return Handover(**json.loads(text))
    except (ValueError, TypeError):
        return None


def written(handover: Handover) -> str:
    return json.dumps(asdict(handover))
