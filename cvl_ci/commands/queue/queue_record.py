"""The record of a queue on disk, written after each step: a later queue reads it, and runs no finished job again."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cvl_ci import saved_values
from cvl_ci.errors import CvlError
from cvl_ci.model.queue import JobRecord
from cvl_ci.result.no_follow import opened_to_write, refuse_links

FILE_NAME = "queue.json"
LOCK_NAME = ".queue.lock"
SCHEMA = 1
LARGEST_BYTES = 64 << 20


class QueueRecord:
    """The file of one queue's folder. A job of another queue in the same folder keeps its entry."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the folder for one queue. The kernel frees it when the process dies. Raises CvlError.

        A second queue would take the jobs under way for those of a killed queue, and end their machines.
        """
        with opened_to_write(self._path.with_name(LOCK_NAME), append=True) as descriptor:
            self._lock(descriptor)
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold the descriptor too

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CvlError(
                f"Another queue is running in {self._path.parent}.",
                next_step="Wait for its end, or name another folder for this one.",
            ) from None
        except OSError as error:
            raise CvlError(
                f"{self._path.parent} cannot be locked for one queue: {error}",
                next_step="Name a folder on a disk of this computer.",
            ) from None

    def read(self) -> dict[str, JobRecord]:
        """Return the records by job; none without a file. Raises CvlError for a file that is not ours."""
        try:
            return _records(self._path)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CvlError(
                f"{self._path} cannot be read as the record of a queue: {error}",
                next_step="Remove the file to run every job again, or name another folder.",
            ) from None

    def write(self, records: Mapping[str, JobRecord]) -> None:
        """Replace the file as a whole, so that a kill leaves the earlier one. Raises CvlError or OSError."""
        refuse_links(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {"schema": SCHEMA, "jobs": {name: _entry(record) for name, record in records.items()}}
        part = self._path.with_name(f".{FILE_NAME}.{os.getpid()}")
        part.write_text(json.dumps(document, indent=1), encoding="utf-8")
        part.replace(self._path)


def _records(path: Path) -> dict[str, JobRecord]:
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError("it is too large")
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["schema"] != SCHEMA:
        raise ValueError(f"its schema is {document['schema']!r}")
    return {str(name): _record(entry) for name, entry in document["jobs"].items()}


def _entry(record: JobRecord) -> dict[str, Any]:
    return {**asdict(record), "state": record.state.value, "digests": dict(record.digests)}


def _record(entry: Mapping[str, Any]) -> JobRecord:
    """Return a record. Raises ValueError, KeyError or TypeError for another entry, or one without all fields."""
    record = saved_values.read(JobRecord, {field.name: entry[field.name] for field in fields(JobRecord)})
    if any(path.startswith("/") or ".." in path.split("/") for path in record.digests):
        raise ValueError("a path leads out of its folder")
    return record
