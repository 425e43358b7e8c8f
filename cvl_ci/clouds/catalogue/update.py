"""Fetch SkyPilot's catalogue into a folder, each file with its commit and its day. The only part with a network.

The files, their addresses and the digest next to each are SkyPilot's own (sky/catalog/common.py, 0.14.1), so SkyPilot
uses the folder `~/.sky/catalogs/v8` as if it had fetched the files itself.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cvl_ci.clouds.catalogue import sources

if TYPE_CHECKING:
    from requests import Session

RAW = "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog"
MIRROR = "https://skypilot-catalog.s3.us-east-1.amazonaws.com"
COMMITS = "https://api.github.com/repos/skypilot-org/skypilot-catalog/commits"
VERSION = "catalogs/v8"

ALONGSIDE: Mapping[str, Sequence[str]] = {
    "aws": ("images.csv", "instance_quota_mapping.csv"),
    "gcp": ("images.csv", "accelerator_quota_mapping.csv"),
    "azure": ("images.csv",),
    "common": ("accelerators.csv", "metadata.csv"),
}
"""Files that SkyPilot reads too. It fetches those that are missing itself, so a missing one is not a failure."""

FEWEST_MACHINES = 3
"""A catalogue of a cloud with fewer machines is a fault: the smallest has dozens."""

_TIMEOUT = (10, 60)
_COLUMNS = {"InstanceType", "Price", "Region", "vCPUs", "MemoryGiB"}


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """The servers of the catalogue: its files by commit, its mirror without commits, and its list of commits."""

    raw: str = RAW
    mirror: str = MIRROR
    commits: str = COMMITS


@dataclass(frozen=True, kw_only=True)
class FetchedCatalogue:
    """One cloud's file. `error`: why it was not fetched; the folder then keeps the file that it had.

    `day`: of its commit, or today where the commit is unknown. `is_unreachable`: the server gave no answer at all.
    """

    cloud: str
    machines: int = 0
    day: date | None = None
    commit: str = ""
    error: str = ""
    is_unreachable: bool = False


class _Unusable(Exception):
    """An answer that is not a catalogue."""


def update(
    folder: Path, clouds: Sequence[str], *, today: date, addresses: Addresses | None = None
) -> Sequence[FetchedCatalogue]:
    """Fetch the files of these clouds. Return one entry for each of them.

    Without a connection to the server, the rest is not tried: each attempt would take the whole time-out.
    """
    from cvl_ci import bounded

    servers = addresses or Addresses()
    session = bounded.session()
    fetched: list[FetchedCatalogue] = []
    for cloud in clouds:
        unreachable = next((one.error for one in fetched if one.is_unreachable), "")
        error = FetchedCatalogue(cloud=cloud, error=unreachable, is_unreachable=True)
        fetched.append(error if unreachable else _cloud(session, servers, folder, cloud, today=today))
    if any(not one.error for one in fetched):
        for name in ("common", *clouds):
            for file in ALONGSIDE.get(name, ()):
                _alongside(session, servers, folder, f"{name}/{file}")
    return fetched


def _cloud(session: Session, servers: Addresses, folder: Path, cloud: str, *, today: date) -> FetchedCatalogue:
    import requests

    name = f"{cloud}/vms.csv"
    try:
        commit, day = _newest_commit(session, servers, name)
        content, is_of_commit = _content(session, servers, name, commit=commit)
        machines = _machines(content)
    except (requests.RequestException, _Unusable) as error:
        return FetchedCatalogue(
            cloud=cloud,
            error=f"{type(error).__name__.lstrip('_')}: {str(error)[:120]}",
            is_unreachable=isinstance(error, requests.ConnectionError | requests.Timeout),
        )
    if not is_of_commit:
        commit, day = "", None
    _write(folder, name, content)
    of = day or today
    _remember(folder, name, content, commit=commit, day=of)
    return FetchedCatalogue(cloud=cloud, machines=machines, day=of, commit=commit)


def _newest_commit(session: Session, servers: Addresses, name: str) -> tuple[str, date | None]:
    """Return the commit of a file and its day. Without an answer, such as over GitHub's limit, the day is unknown."""
    import requests

    from cvl_ci import bounded

    try:
        answer = session.get(servers.commits, params={"path": f"{VERSION}/{name}", "per_page": "1"}, timeout=_TIMEOUT)
        commits = bounded.parsed(answer.content) if answer.status_code == 200 else None
    except requests.RequestException:
        return "", None
    try:
        newest = commits[0]  # type: ignore[index]
        commit, day = str(newest["sha"]), date.fromisoformat(str(newest["commit"]["committer"]["date"])[:10])
    except (KeyError, IndexError, TypeError, ValueError):
        return "", None
    return (commit, day) if len(commit) == 40 and commit.isalnum() else ("", None)


def _content(session: Session, servers: Addresses, name: str, *, commit: str) -> tuple[bytes, bool]:
    """Return a file, and whether it is of that commit. GitHub limits downloads; the mirror has no commits."""
    answer = session.get(f"{servers.raw}/{commit or 'master'}/{VERSION}/{quote(name)}", timeout=_TIMEOUT)
    is_of_commit = bool(commit)
    if answer.status_code == 429:
        answer, is_of_commit = session.get(f"{servers.mirror}/{VERSION}/{quote(name)}", timeout=_TIMEOUT), False
    if answer.status_code != 200:
        raise _Unusable(f"the answer for {name} is {answer.status_code}")
    return answer.content, is_of_commit


def _machines(content: bytes) -> int:
    """Return the number of machine types. Raise _Unusable if the content is not a catalogue."""
    lines = csv.DictReader(content.decode("utf-8", errors="replace").splitlines())
    if not set(lines.fieldnames or ()) >= _COLUMNS:
        raise _Unusable("the answer has not the columns of a catalogue")
    try:
        types = {line["InstanceType"] for line in lines if line["InstanceType"] and float(line["Price"] or 0) >= 0}
    except (ValueError, TypeError, csv.Error) as error:
        raise _Unusable(f"a line of the answer cannot be read: {error}") from None
    if len(types) < FEWEST_MACHINES:
        raise _Unusable(f"the answer has {len(types)} machines")
    return len(types)


def _alongside(session: Session, servers: Addresses, folder: Path, name: str) -> None:
    """Fetch a file of ALONGSIDE. Without an answer, leave it to SkyPilot."""
    import requests

    try:
        content, _ = _content(session, servers, name, commit="")
    except (requests.RequestException, _Unusable):
        return
    if b"," in content.partition(b"\n")[0]:
        _write(folder, name, content)


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a file and the digest by which SkyPilot knows that no person changed it."""
    _replace(folder / name, content)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    _replace(folder / ".meta" / f"{name}.md5", digest.encode())


def _remember(folder: Path, name: str, content: bytes, *, commit: str, day: date) -> None:
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "commit": commit, "day": day.isoformat()}
    files = {**sources.record(folder), name: entry}
    _replace(folder / sources.RECORD, json.dumps({"files": files}, indent=2).encode())


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step: SkyPilot may read it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
