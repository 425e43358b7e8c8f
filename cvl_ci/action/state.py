"""What main leaves behind for post, in a file under HOME: enough to tell, beside the lease, what it was ending."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cvl_ci.errors import NotProvedGone
from cvl_ci.model.outcome import EXIT_CODES, Cost, Ending, FetchedFile, Outcome, Release
from cvl_ci.result.no_follow import LinkInTheWay, refuse_links, write_text

CUT_SHORT = "The step was ended before the run was over: cancelled, out of its own time, or killed."


@dataclass(frozen=True, kw_only=True)
class Handover:
    """`done`: main told the end itself, proof included. `since`, `hourly_usd`: what is spent from when on.

    `kept_until`: as a person reads it, where the machine of a failed job is kept: its lease is not post's to end.
    `ending`, `reason`, `exit_code`: of a main that came to its end, but not to a proof or not to telling it.
    """

    lease: str
    leg: str
    title: str = ""
    example: str = ""
    preset: str = ""
    image: str = ""
    done: bool = False
    since: float = 0.0
    hourly_usd: float = 0.0
    billed: bool = True
    ending: str = ""
    reason: str = ""
    exit_code: int = 0
    kept_until: str = ""
    artifacts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """What main had uploaded: kind → name and address."""

    @property
    def told(self) -> bool:
        """Main came to its end, and had the proof: what it said of it stands."""
        return bool(self.ending) and self.exit_code != NotProvedGone.exit_code


def save(path: Path, handover: Handover) -> None:
    """Whole or not at all. A full disk must not end a run: post can recompute the name."""
    with contextlib.suppress(OSError, LinkInTheWay):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        write_text(half, written(handover))
        half.replace(path)


def take_over(path: Path) -> None:
    """Said by post before it undoes: a cancelled main may still run beside it, and has no more say."""
    with contextlib.suppress(OSError, LinkInTheWay):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_links(path.with_suffix(".post"))
        path.with_suffix(".post").touch()


def taken_over(path: Path) -> bool:
    return path.with_suffix(".post").exists()


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


def as_left(left: Handover | None, release: Release, *, name: str, folder: Path) -> Outcome:
    """As main said that it ended; a main that did not come to say so was cut short. `folder`: of what it fetched."""
    ending, reason, code = Ending.CANCELLED, CUT_SHORT, EXIT_CODES[Ending.CANCELLED]
    if left is not None and left.ending:
        ending, reason, code = Ending(left.ending), left.reason, left.exit_code
        if code == NotProvedGone.exit_code:
            code = EXIT_CODES.get(ending, code)
    cost = _cost(left, release) if left is not None and left.hourly_usd else None
    files = _files(folder)
    return Outcome(
        ending=ending,
        reason=reason,
        exit_code=code if release.gone else NotProvedGone.exit_code,
        title=(left.title if left else "") or name,
        cluster=name,
        cost=cost,
        duration_seconds=cost.seconds if cost else 0.0,
        files=files,
        outputs_directory=str(folder) if files else "",
        release=release,
        advice="" if release.gone else f"Take it down and have it proved:\ncvl-ci down {name}",
    )


def _cost(left: Handover, release: Release) -> Cost:
    seconds = max(0.0, release.at - left.since)
    usd = left.hourly_usd * seconds / 3600
    return Cost(hourly_usd=left.hourly_usd, seconds=seconds, usd=usd, estimated_usd=None, billed=left.billed)


def _files(folder: Path) -> tuple[FetchedFile, ...]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return tuple(FetchedFile(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size) for path in found)
