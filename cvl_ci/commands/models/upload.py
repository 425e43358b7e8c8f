"""Store a model in a bucket once: the metadata first, then the files that the bucket lacks, then the manifest."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.commands.models.progress import TransferProgress
from cvl_ci.commands.models.reading import Reading, UploadStopped
from cvl_ci.commands.models.sending import Sending
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.snapshot import Manifest, ModelFile, Snapshot
from cvl_ci.ports import Clock
from cvl_ci.ports.models import ModelSource
from cvl_ci.result.units import moment, size

FILES_AT_ONCE, PARTS_AT_ONCE, PARTS_IN_ROOM = 3, 2, 4
"""Four parts of 8 MiB, and as much again in the libraries' own buffers, stay far below 200 MB of memory."""


@dataclass(frozen=True, kw_only=True)
class UploadRequest:
    """A model and the selected files. `files`: globs of paths; none for all. `revision`: empty for the newest."""

    repo: str
    files: tuple[str, ...] = ()
    revision: str = ""


@dataclass(frozen=True, kw_only=True)
class UploadPorts:
    """`tell` receives lines of progress, and `pause` replaces the waiting for a busy source."""

    source: ModelSource
    model_store: ModelStore
    clock: Clock
    tell: Callable[[str], None]
    pause: Callable[[float], object] | None = None


@dataclass(frozen=True, kw_only=True)
class UploadedModel:
    """A stored model: `moved_bytes` of this upload, and all files that the bucket now has of this commit."""

    manifest: Manifest
    location: str
    moved_bytes: int
    moved_files: int


def upload(request: UploadRequest, ports: UploadPorts) -> UploadedModel:
    """Store the selected files of a model. Raises CvlError; the next upload then continues."""
    stopped = threading.Event()
    reading = Reading(
        source=ports.source,
        clock=ports.clock,
        stopped=stopped,
        pause=ports.pause or stopped.wait,
        warn=ports.tell,
    )
    snapshot = reading.snapshot(request.repo, request.revision)
    selected = _selected(snapshot, request.files)
    stored, missing = _missing(ports.model_store, snapshot, selected)
    total = sum(file.size for file in missing)
    progress = TransferProgress(total, clock=ports.clock, tell=ports.tell)
    complete = dict(stored)
    if missing:
        ports.tell(f"{request.repo} at {snapshot.commit[:12]}: {len(missing)} files of {size(total)} to store.")
        if problem := ports.model_store.store.end_unfinished_uploads(ports.model_store.prefix()):
            ports.tell(f"No rule of the bucket ends unfinished uploads by itself: {problem}")
        complete |= _sent(snapshot, missing, reading=reading, model_store=ports.model_store, progress=progress)
    manifest = ports.model_store.record(
        Manifest(
            repo=snapshot.repo,
            commit=snapshot.commit,
            files=complete,
            is_chosen=bool(request.files),
            has_all=snapshot.has_all and len(complete) == len(snapshot.files),
            uploaded_at=moment(ports.clock.now()),
            of_hub=snapshot.of_hub,
        ),
        ref=snapshot.ref,
    )
    if missing:
        _end_uploads(ports.model_store, snapshot, missing)
    return UploadedModel(
        manifest=manifest,
        location=f"{ports.model_store.address.scheme}://{ports.model_store.address.bucket}/"
        + ports.model_store.key(snapshot.repo, "snapshots", snapshot.commit),
        moved_bytes=progress.moved,
        moved_files=len(missing),
    )


def _selected(snapshot: Snapshot, patterns: Sequence[str]) -> list[ModelFile]:
    """Return the files that a pattern names. Raises RequestError for a pattern without a file."""
    mistakes = [
        InputProblem(
            field="FILES",
            value=pattern,
            problem=f"names no file of {snapshot.repo} at {snapshot.commit[:12]}",
            near=similar(pattern, [file.path for file in snapshot.files]),
        )
        for pattern in patterns
        if not any(fnmatch.fnmatchcase(file.path, pattern) for file in snapshot.files)
    ]
    if not snapshot.files:
        mistakes = [InputProblem(field="REPO", value=snapshot.repo, problem="has no files")]
    if mistakes:
        raise RequestError(mistakes)
    if not patterns:
        return list(snapshot.files)
    return [file for file in snapshot.files if any(fnmatch.fnmatchcase(file.path, pattern) for pattern in patterns)]


def _missing(
    model_store: ModelStore, snapshot: Snapshot, selected: Sequence[ModelFile]
) -> tuple[dict[str, ModelFile], list[ModelFile]]:
    """Return the selected files that manifest and bucket have, and those that they lack."""
    manifest = model_store.manifest(snapshot.repo, snapshot.commit)
    if manifest is None:
        return {}, list(selected)
    prefix = model_store.prefix(snapshot.repo, "snapshots", snapshot.commit)
    sizes = {one.key.removeprefix(prefix): one.size for one in model_store.store.objects(prefix)}
    stored = {
        file.path: manifest.files[file.path]
        for file in selected
        if file.path in manifest.files and sizes.get(file.path) == file.size
    }
    return stored, [file for file in selected if file.path not in stored]


def _sent(
    snapshot: Snapshot,
    files: Sequence[ModelFile],
    *,
    reading: Reading,
    model_store: ModelStore,
    progress: TransferProgress,
) -> dict[str, ModelFile]:
    """Send files, the largest first. The first error stops all of them and is raised."""
    room = threading.Semaphore(PARTS_IN_ROOM)
    with ThreadPoolExecutor(PARTS_AT_ONCE) as senders, ThreadPoolExecutor(FILES_AT_ONCE) as readers:
        sending = Sending(reading=reading, store=model_store.store, senders=senders, room=room, moved=progress.add)
        return _all_sent(snapshot, files, sending=sending, model_store=model_store, readers=readers)


def _all_sent(
    snapshot: Snapshot, files: Sequence[ModelFile], *, sending: Sending, model_store: ModelStore, readers: Executor
) -> dict[str, ModelFile]:
    futures = {
        readers.submit(
            sending.send, snapshot, file, model_store.file_key(snapshot.repo, snapshot.commit, file.path)
        ): file
        for file in sorted(files, key=lambda file: -file.size)
    }
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        errors = [error for future in futures if future.done() and (error := future.exception())]
        for error in sorted(errors, key=lambda one: isinstance(one, UploadStopped)):
            raise error
        return {file.path: replace(file, sha256=future.result()) for future, file in futures.items()}
    finally:
        sending.reading.stopped.set()
        for future in futures:
            future.cancel()


def _end_uploads(model_store: ModelStore, snapshot: Snapshot, files: Sequence[ModelFile]) -> None:
    """End unfinished uploads of files that are now stored: another one of the same key, cut before its record."""
    keys = {model_store.file_key(snapshot.repo, snapshot.commit, file.path) for file in files}
    for unfinished in model_store.store.uploads(model_store.prefix(snapshot.repo, "snapshots", snapshot.commit)):
        if unfinished.key in keys:
            model_store.store.abort(unfinished)
