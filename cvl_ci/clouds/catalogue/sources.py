"""The files that a cloud's prices come from, and the day that these prices are of. Files only, no network.

A file's own time says nothing: SkyPilot sets it to now when a download failed (sky/catalog/common.py, 0.14.1). SkyPilot
writes the digest of a download next to it, in `.meta`; that file's time is the time of the download. `cvl-ci prices
update` writes the commit and its day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path

from cvl_ci.clouds.catalogue import sky_files
from cvl_ci.errors import InputProblem, RequestError

OLDEST_DAYS = 30
"""Prices that are older get a warning."""

IMAGE_FOLDER = Path("/opt/cvl-ci/catalogs/v8")
"""The place of the catalogue in the action's image, which its build fetches where the network allows (Dockerfile)."""

TABLE_UNTIL = date(2026, 11, 28)
"""The program's own table was transcribed by this day, so none of its commits is younger."""

TABLE_SINCE: Mapping[str, date] = {"azure": date(2023, 6, 15)}
"""No row is older: azure's is of v6, and on that day v5 was the latest (skypilot-catalog, pull request 33)."""

TABLE_SINCE_V8 = date(2025, 4, 28)
"""The other rows are of v8. Its predecessor v7 began on that day (skypilot-catalog, pull request 116)."""

RECORD = "cvl-ci.json"
"""The commit, the day and the digest of each file that cvl-ci fetched into a folder."""

UPDATE = "`cvl-ci prices update` fetches today's"


@dataclass(frozen=True, kw_only=True)
class Source:
    """The origin of one cloud's prices. `folder` None: the table inside the program.

    `day`: the day that they are of; None: unknown. `until`: the prices are of an unknown day from `day` to this one.
    """

    cloud: str
    folder: Path | None = None
    day: date | None = None
    commit: str = ""
    until: date | None = None

    @property
    def is_dated(self) -> bool:
        """Return whether the day is known exactly."""
        return self.day is not None and self.until is None

    @property
    def days(self) -> str:
        """Return `of 2026-09-21`, `between 2025-04-28 and 2026-11-28` or `of an unknown day`."""
        if self.day is None:
            return "of an unknown day"
        return f"of {self.day}" if self.until is None else f"between {self.day} and {self.until}"

    @property
    def text(self) -> str:
        return f"{self.cloud} {self.commit[:7]}" if self.commit else self.cloud


def existing(folder: Path, *, name: str) -> Path:
    """Return a folder that the user named. Raise RequestError if it is not there or holds no catalogue."""
    if not folder.is_dir():
        raise RequestError(
            [InputProblem(field=name, value=str(folder), problem="is not there")],
            next_step=f"Create it with `cvl-ci prices update --into {folder}`, or leave {name} out.",
        )
    if not any(folder.glob("*/vms.csv")):
        raise RequestError(
            [InputProblem(field=name, value=str(folder), problem="holds no catalogue, such as aws/vms.csv")],
            next_step=f"Fill it with `cvl-ci prices update --into {folder}`, or leave {name} out.",
        )
    return folder


def source(cloud: str, folders: Sequence[Path]) -> Source:
    """Return the newest of the folders' files for a cloud; one of unknown age only if no other has it."""
    candidates = [_in_folder(cloud, folder) for folder in folders if sky_files.path(folder, cloud).is_file()]
    return max(candidates, key=lambda one: one.day or date.min, default=_table(cloud))


def _table(cloud: str) -> Source:
    return Source(cloud=cloud, day=TABLE_SINCE.get(cloud, TABLE_SINCE_V8), until=TABLE_UNTIL)


def _in_folder(cloud: str, folder: Path) -> Source:
    file = sky_files.path(folder, cloud)
    recorded = record(folder).get(f"{cloud}/vms.csv", {})
    content = file.read_bytes()
    if recorded.get("sha256") == hashlib.sha256(content).hexdigest():
        return Source(cloud=cloud, folder=folder, day=_day(recorded.get("day", "")), commit=recorded.get("commit", ""))
    digest = folder / ".meta" / cloud / "vms.csv.md5"
    if digest.is_file() and digest.read_text().strip() == hashlib.md5(content, usedforsecurity=False).hexdigest():
        fetched = datetime.fromtimestamp(digest.stat().st_mtime, tz=timezone.utc).date()
        return Source(cloud=cloud, folder=folder, day=fetched)
    return Source(cloud=cloud, folder=folder)


def record(folder: Path) -> Mapping[str, Mapping[str, str]]:
    """Return what cvl-ci fetched into a folder, by file; nothing if its record cannot be read."""
    try:
        read = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    files = read.get("files") if isinstance(read, dict) else None
    if not isinstance(files, dict):
        return {}
    return {
        str(name): {str(key): str(value) for key, value in entry.items()}
        for name, entry in files.items()
        if isinstance(entry, dict)
    }


def describe(sources: Iterable[Source]) -> str:
    """Return `SkyPilot's catalogue of 2026-09-21 (aws 1a2b3c4, gcp); of an unknown day (runpod)`."""
    names_of_days: dict[str, list[str]] = {}
    for one in sorted(sources, key=lambda one: (one.day is None, one.until is not None, one.day or date.min)):
        names_of_days.setdefault(one.days, []).append(one.text)
    parts = [f"{days} ({', '.join(names)})" for days, names in names_of_days.items()]
    return f"SkyPilot's catalogue {'; '.join(parts)}" if parts else ""


def age_warning(sources: Sequence[Source], *, today: date, oldest_days: int) -> str:
    """Return why prices may be out of date, or an empty text. An unknown age is not a young one."""
    old = [(one, (today - one.day).days) for one in sources if one.day is not None]
    old = [(one, days) for one, days in old if days > oldest_days]
    in_table = [one for one, _ in old if one.folder is None]
    in_files = [one for one, _ in old if one.folder is not None]
    undated = [one for one in sources if one.day is None]
    age = _age(old, in_table)
    own_table = f"are from cvl-ci's own table, {age}: this computer has no catalogue of SkyPilot for them"
    parts = [
        _of_clouds(in_table, own_table),
        _of_clouds(in_files, f"are {_age(old, in_files)}"),
        _of_clouds(undated, "are of an unknown day"),
    ]
    reasons = [f"The prices of {part}." for part in parts if part]
    return " ".join([*reasons, f"{UPDATE}."]) if reasons else ""


def _age(dated: Sequence[tuple[Source, int]], sources: Sequence[Source]) -> str:
    return f"up to {max((days for one, days in dated if one in sources), default=0)} days old"


def _of_clouds(sources: Sequence[Source], text: str) -> str:
    return f"{_list(one.cloud for one in sources)} {text}" if sources else ""


def _list(clouds: Iterable[str]) -> str:
    names: Collection[str] = list(clouds)
    return ", ".join(names)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
