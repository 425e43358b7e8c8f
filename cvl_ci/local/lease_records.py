"""Lease records that outlive this process: a JSON file each, for its owner only, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cvl_ci.errors import EngineError
from cvl_ci.model.plan import Place
from cvl_ci.ports import LeaseRecord
from cvl_ci.result.no_follow import LinkInTheWay, refuse_links

README = """\
Lease records of cvl-ci: what it asked a cloud for, under which name, until when.

NAME.json     written before anything is created there, so that it can be found and ended from this file alone
NAME.revoked  the fence: while it exists, nothing can be launched under this name any more
NAME.log      the path of the file with the job's lines; its run holds a lock on it while it lives

A record with "released_at" is over: its machines were proved gone, and the file may be deleted. One without may stand
for a machine that is still running and billing: `cvl-ci down NAME` takes it down and proves it.
"""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class FileRecords:
    """`warn` is told of files that cannot be read: they count as leases nothing is known of, never as an error."""

    def __init__(self, directory: Path, *, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._warn = warn

    def write(self, record: LeaseRecord) -> None:
        text = json.dumps(_to_json(record), indent=2, sort_keys=True) + "\n"
        self._save(self._path(record.name, "json"), text)

    def read(self, name: str) -> LeaseRecord | None:
        path = self._path(name, "json")
        try:
            return _from_json(name, json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._warn(
                f"The lease record {path} cannot be read ({type(error).__name__}: {error}). If its run is not over, a "
                f"machine may be billing. `cvl-ci down {name}` looks for it at the provider and takes it down."
            )
            return None

    def all(self) -> Iterator[LeaseRecord]:
        """Oldest name first; files that are no record are passed over. A folder that cannot be read is warned of."""
        try:
            paths = sorted(self._directory.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(
                f"The lease records in {self._directory} cannot be read ({error.strerror or error}). A machine that "
                "one of them names may be billing. `cvl-ci down --all --cloud CLOUD` asks the provider instead."
            )
            return
        for path in paths:
            if path.suffix == ".json" and _NAME.fullmatch(path.stem) and (record := self.read(path.stem)):
                yield record

    def fence(self, name: str) -> Path:
        return self._path(name, "revoked")

    def revoke(self, name: str) -> None:
        """Never in the way of a release: a fence that cannot be written is warned about."""
        try:
            self._save(self.fence(name), "")
        except EngineError as error:
            self._warn(f"{error.what} Another process of the same run would not know that its lease is over.")

    def _path(self, name: str, kind: str) -> Path:
        if not _NAME.fullmatch(name):
            raise EngineError(
                f"{name!r} is no name of a lease: those are lower-case letters, digits and dashes.",
                money="Nothing was looked up or changed.",
                next_step="Copy the name from the run's summary.",
            )
        return self._directory / f"{name}.{kind}"

    def _save(self, path: Path, text: str) -> None:
        try:
            refuse_links(self._directory)
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            readme = self._directory / "README.txt"
            if not readme.exists():
                _write_whole(readme, README)
            _write_whole(path, text)
        except (OSError, LinkInTheWay) as error:
            raise EngineError(
                f"The lease could not be written down at {path}: {error}.",
                money="No further machine is asked for without it.",
                next_step=f"Make {self._directory} writable, or give the disk room.",
            ) from error


def _write_whole(path: Path, text: str) -> None:
    """Under another name first, on the disk, then in one step in its place: a crash leaves the old file or the new."""
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_json(record: LeaseRecord) -> dict[str, object]:
    return {
        **vars(record),
        "labels": dict(record.labels),
        "places": [vars(place) for place in record.places],
        "regions": list(record.regions),
    }


def _from_json(name: str, data: Mapping[str, Any]) -> LeaseRecord:
    """Raises on anything that is not what `_to_json` writes."""
    if data["name"] != name:
        raise ValueError(f"it says it is {data['name']!r}")
    released_at = data["released_at"]
    return LeaseRecord(
        name=name,
        labels={str(key): str(value) for key, value in data["labels"].items()},
        deadline=float(data["deadline"]),
        places=tuple(
            Place(cloud=place["cloud"], region=place["region"], zone=place["zone"]) for place in data["places"]
        ),
        taken_at=float(data["taken_at"]),
        released_at=None if released_at is None else float(released_at),
        regions=tuple(str(region) for region in data["regions"]),
    )
