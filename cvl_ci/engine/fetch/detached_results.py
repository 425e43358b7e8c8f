"""Implement the Results port: read what machine/detached.py has stored, as hostile input, and unpack it here."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cvl_ci.engine import sky_errors, whole_log
from cvl_ci.engine.fetch import transfer, unpack
from cvl_ci.engine.fetch.fetched_archives import Brought
from cvl_ci.errors import CvlError, EngineError, explain_while_running
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import MANIFEST, Detached
from cvl_ci.ports import Fetched
from cvl_ci.ports.models import ObjectStore
from cvl_ci.ports.results import DetachedEnd, StoredFile

LOGS = tuple(f"log/{stream}/{part}" for stream in ("setup", "running") for part in ("old", "new"))
"""The parts of the log, in their order."""
LARGEST_MANIFEST = 1 << 20
FETCH_SECONDS = 3_600.0
"""The longest time for all downloads together. No machine waits for them."""
LONGEST_PIECE = 1 << 16
"""The longest piece of a line of the log that is shown at once."""
_FETCH = "fetch/"


class StoredResults:
    """`bucket`: opens a bucket by its name. `environment`: of the process that unpacks."""

    def __init__(self, bucket: Callable[[str], ObjectStore], *, environment: Mapping[str, str]) -> None:
        self._bucket, self._environment = bucket, environment

    def end(self, place: BucketAddress) -> DetachedEnd | None:
        key, store = place.below(MANIFEST), self._bucket(place.bucket)
        try:
            # A question about the object alone would not tell a bucket that does not exist from an absent object.
            content = store.get(key)
        except CvlError:
            raise
        except Exception as error:
            raise EngineError(f"S3 did not show {place}: {type(error).__name__}: {error}"[:300]) from error
        if content is not None and len(content[0]) > LARGEST_MANIFEST:
            raise EngineError(f"{place}/{MANIFEST} is longer than any that our machines write.")
        return None if content is None else _end(content[0])

    def fetch(self, detached: Detached, end: DetachedEnd | None, *, into: Path, line: Callable[[str], None]) -> Fetched:
        brought = Brought(globs=detached.outputs if end else (), directory=detached.directory)
        until = time.monotonic() + FETCH_SECONDS
        try:
            files = {file.name: file for file in end.files} if end else dict.fromkeys(LOGS)
            for name in LOGS:
                if name in files:
                    self._show(detached.place, name, files[name], brought, until=until, line=line)
            room = transfer.room(brought.path)
            for file in end.files if end else ():
                if file.name.startswith(_FETCH) and unpack.archive_name(file.name.removeprefix(_FETCH)):
                    room -= self._bring(detached.place, file, brought, room=room, until=until)
            if end is None:
                brought.drop()
                return Fetched()
            if end.problem:
                brought.problems.append(f"Not all could be packed: {end.problem}.")
        except Exception as error:  # noqa: BLE001  a machine chose the bytes, and its end is known
            brought.problems.append(f"Not all results could be fetched: {explain_while_running(error)}"[:500])
        return brought.unpacked(into, environment=self._environment, within=math.inf)

    def _show(
        self,
        place: BucketAddress,
        name: str,
        file: StoredFile | None,
        brought: Brought,
        *,
        until: float,
        line: Callable[[str], None],
    ) -> None:
        """Show a part of the log. Of a machine that has gone, it is as long as it was stored last."""
        target = brought.path / "log"
        problem = self._download(place, name, file, target, most=whole_log.SEGMENT_BYTES, until=until)
        if problem:
            if file is not None:
                brought.problems.append(problem)
            return
        for text in _lines(target):
            line(text)
        target.unlink()

    def _bring(self, place: BucketAddress, file: StoredFile, brought: Brought, *, room: int, until: float) -> int:
        """Download an archive, and return its bytes here."""
        name = file.name.removeprefix(_FETCH)
        if file.size > room:
            brought.problems.append(
                f"{name} has {file.size:,} bytes and only {room:,} fit here, so it was not fetched. It is in {place}."
            )
            return 0
        folder = brought.path / "0"
        folder.mkdir(exist_ok=True)
        problem = self._download(place, file.name, file, folder / name, most=file.size, until=until)
        if problem:
            (folder / name).unlink(missing_ok=True)
            brought.problems.append(problem)
            return 0
        return file.size

    def _download(
        self, place: BucketAddress, name: str, file: StoredFile | None, target: Path, *, most: int, until: float
    ) -> str:
        """Download one object. Return the problem in words; empty without one. `file`: what its manifest says."""
        size, digest, store, key = 0, hashlib.sha256(), self._bucket(place.bucket), place.below(name)
        if file is None and store.head(key) is None:
            return "there is none"
        with store.stream(key) as pieces, target.open("wb") as out:
            for piece in pieces:
                size += len(piece)
                if size > most or time.monotonic() > until:
                    return f"{name} was not fetched whole: it is longer than {most:,} bytes, or came too slowly."
                digest.update(piece)
                out.write(piece)
        if file is not None and (size, digest.hexdigest()) != (file.size, file.sha256):
            return f"{name} is not as the machine stored it: its SHA-256 differs from the manifest's."
        return ""


def _end(content: bytes) -> DetachedEnd:
    """Return the end in a manifest. Raise EngineError for a text that machine/detached.py does not write."""
    try:
        document = json.loads(content)
        files = tuple(_files(document["files"]))
        text, ended_at, problem = str(document["end"]), float(document["ended_at"]), str(document["problem"])[:300]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
        raise EngineError(f"The manifest of the results cannot be read ({type(error).__name__}).") from error
    if not math.isfinite(ended_at):
        raise EngineError("The manifest of the results names no moment.")
    return DetachedEnd(node=sky_errors.read_end(0, text), ended_at=ended_at, files=files, problem=problem)


def _files(entries: list[dict[str, Any]]) -> Iterator[StoredFile]:
    if len(entries) > unpack.MOST_ARCHIVES + len(LOGS):
        raise ValueError("too many files")
    for entry in entries:
        name, size = str(entry["name"]), int(entry["size"])
        if size < 0 or not (name in LOGS or name.startswith(_FETCH)):
            raise ValueError(name)
        yield StoredFile(name=name, size=size, sha256=str(entry["sha256"]))


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a log, a long one in pieces."""
    with path.open("rb") as file:
        while piece := file.readline(LONGEST_PIECE):
            yield piece.decode("utf-8", "replace").rstrip("\r\n")
