"""Lease records that outlive this process: one JSON file each, readable by its owner only, written in one step."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from cvl_ci import saved_values
from cvl_ci.errors import EngineError
from cvl_ci.model.launch import Spending
from cvl_ci.ports import LeaseRecord
from cvl_ci.result.no_follow import LinkInTheWay, refuse_links

README = """\
Lease records of cvl-ci: what it asked a cloud for, under which name, until when.

NAME.json     written before anything is created, so that this file alone is enough to find and end it
NAME.revoked  the fence: while it exists, nothing can be launched under this name
NAME.price    the requests for its machines, with their prices: `cvl-ci status` tells the cost so far from it
NAME.log      the path of the file with the job's lines; its run holds a lock on it while it lives

A record with "released_at" has ended, with proof that its machines are gone: you may delete the file. A record
without it may mean a machine that still runs and costs money: `cvl-ci down NAME` ends it and proves it.
"""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""The errors of a text that is not a record."""

MOST_ATTEMPTS = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class FileRecords:
    """The Records port. `warn` receives unreadable files: they count as unknown leases, never as an error."""

    def __init__(self, directory: Path, *, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._warn = warn

    def write(self, record: LeaseRecord) -> None:
        self._save(self._path(record.name, "json"), as_text(record))

    def read(self, name: str) -> LeaseRecord | None:
        path = self._path(name, "json")
        try:
            return from_text(name, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, *UNREADABLE) as error:
            self._warn(
                f"The lease record {path} cannot be read ({type(error).__name__}: {error}). If its run has not ended, "
                f"a machine may cost money. `cvl-ci down {name}` asks the provider for it and takes it down."
            )
            return None

    def all(self) -> Iterator[LeaseRecord]:
        """Yield the records, oldest name first. Skips files that are not records; an unreadable folder is a warning."""
        try:
            paths = sorted(self._directory.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(
                f"The lease records in {self._directory} cannot be read ({error.strerror or error}). A machine "
                "of one of them may cost money. `cvl-ci down --all --cloud CLOUD` asks the provider instead."
            )
            return
        for path in paths:
            if path.suffix == ".json" and _NAME.fullmatch(path.stem) and (record := self.read(path.stem)):
                yield record

    def fence(self, name: str) -> Path:
        return self._path(name, "revoked")

    def revoke(self, name: str) -> None:
        """Shut the fence. A fence that cannot be written is a warning, so that it never stops a release."""
        try:
            self._save(self.fence(name), "")
        except EngineError as error:
            self._warn(f"{error.what} Another process of the same run would not know that its lease has ended.")

    def note_spending(self, name: str, spending: Spending) -> None:
        """Record the requests in a file of their own, so that no later change of the record can lose them.

        A file that cannot be written is a warning: a price must not end a run.
        """
        try:
            self._save(self._path(name, "price"), json.dumps(asdict(spending), indent=2, sort_keys=True) + "\n")
        except EngineError as error:
            self._warn(f"{error.what} So no later process can tell the cost of this lease from its record.")

    def spending(self, name: str) -> Spending | None:
        """Return the recorded requests. An earlier version recorded those of a detached run alone, in its record."""
        try:
            document = json.loads(self._path(name, "price").read_text("utf-8"))
            return _bounded(saved_values.read(Spending, document, least=0.0))
        except (OSError, *UNREADABLE):
            record = self.read(name)
            return record.detached.spending if record is not None and record.detached is not None else None

    def _path(self, name: str, kind: str) -> Path:
        if not _NAME.fullmatch(name):
            raise EngineError(
                f"{name!r} is not a lease's name, which has only lower-case letters, digits and dashes.",
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
                f"The lease record could not be written to {path}: {error}.",
                money="Without a record cvl-ci requests no further machine.",
                next_step=f"Make {self._directory} writable, or free disk space.",
            ) from error


def _write_whole(path: Path, text: str) -> None:
    """Write a file under another name, sync it, then move it: after a crash the old or the new file exists."""
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


def as_text(record: LeaseRecord) -> str:
    """Return a record as its file holds it. A month's budget belongs to the run that is over."""
    detached = record.detached and replace(record.detached, limits=replace(record.detached.limits, month=None))
    return json.dumps(asdict(replace(record, detached=detached)), indent=2, sort_keys=True) + "\n"


def from_text(name: str, text: str) -> LeaseRecord:
    """Return the record in a text. Raise one of UNREADABLE for a text that `as_text` does not write."""
    document = json.loads(text)
    if document["name"] != name:
        raise ValueError(f"it says it is {document['name']!r}")
    # A record of an earlier version calls them places, and its machines may still run.
    locations = document["locations"] if "locations" in document else document["places"]
    record = saved_values.read(LeaseRecord, {**document, "locations": locations}, least=0.0)
    if record.detached:
        _bounded(record.detached.spending)
    return record


def _bounded(spending: Spending) -> Spending:
    if len(spending.attempts) > MOST_ATTEMPTS:
        raise ValueError("too many attempts")
    return spending
