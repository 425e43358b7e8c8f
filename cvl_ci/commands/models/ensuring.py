"""Have the models of a run in the bucket before it launches: stored once, however many legs begin together.

A conditional write of the bucket is the lock (S3 User Guide, "Conditional requests"). Its holder renews it. A lock that
nothing renews expires, and the next leg takes it over.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.errors import CvlError, StorageError
from cvl_ci.model.model_plan import ModelName
from cvl_ci.model.snapshot import Manifest, folder
from cvl_ci.ports import Clock

LOCK_SECONDS, RENEWED_EVERY_SECONDS = 300.0, 60.0
"""Clocks of two runners differ by seconds; a lost holder delays the others by five minutes."""
LOOK_SECONDS = 5.0
MOST_WAITING_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Ensuring:
    """`upload` stores a model. `owner` names this leg in the lock. `tell` receives lines for a person."""

    model_store: ModelStore
    clock: Clock
    owner: str
    upload: Callable[[ModelName], Manifest]
    tell: Callable[[str], None]

    def ensure(self, name: ModelName) -> bool:
        """Return whether the bucket has the model. A failure is a line: the job may still ask the hub itself."""
        try:
            return self._ensured(name)
        except CvlError as error:
            self.tell(f"{name} could not be stored in the bucket: {error.what} The job may ask the hub for it.")
            return False

    def _ensured(self, name: ModelName) -> bool:
        start, is_told = self.clock.now(), False
        while True:
            manifest = self.model_store.find(name.repo, name.revision)
            if manifest is not None and manifest.is_enough:
                return True
            with self._lock(name, start) as state:
                if state.is_mine:
                    return self._uploaded(name)
            if state.failure:
                raise StorageError(f"Another leg did not store it: {state.failure}")
            if self.clock.now() - start > MOST_WAITING_SECONDS:
                raise StorageError(f"Another leg has stored it for {MOST_WAITING_SECONDS / 60:.0f} minutes.")
            if not is_told:
                self.tell(f"Another leg stores {name} at this moment. This one waits for it.")
                is_told = True
            self.clock.sleep(LOOK_SECONDS)

    def _uploaded(self, name: ModelName) -> bool:
        # The holder before may have finished between the look and the lock.
        manifest = self.model_store.find(name.repo, name.revision)
        if manifest is None or not manifest.is_enough:
            self.upload(name)
        return True

    @contextmanager
    def _lock(self, name: ModelName, start: float) -> Iterator[_LockState]:
        """Take the lock if it is free, expired, or of a leg that failed before this one began."""
        key = self.model_store.address.below("locks", f"{folder(name.repo)}@{name.revision.replace('/', '--')}.json")
        stored = self.model_store.store.get(key)
        other = _read(stored[0]) if stored else None
        if other and other.until > self.clock.now():
            yield _LockState()
            return
        if other and other.failure and other.failed_at >= start:
            yield _LockState(failure=other.failure)
            return
        holder = _Holder(self.model_store, key=key, owner=self.owner, clock=self.clock)
        if not holder.acquire(stored[1] if stored else ""):
            yield _LockState()
            return
        with holder:
            yield _LockState(is_mine=True)


@dataclass(frozen=True, kw_only=True)
class _LockState:
    is_mine: bool = False
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class _Lock:
    until: float
    failure: str
    failed_at: float


class _Holder:
    """A lock that this process holds. Its end leaves the reason of a failure there, for the legs that wait."""

    def __init__(self, model_store: ModelStore, *, key: str, owner: str, clock: Clock) -> None:
        self._model_store, self._key, self._owner, self._clock = model_store, key, owner, clock
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="model lock", daemon=True)

    def acquire(self, version: str) -> bool:
        return self._write(until=self._clock.now() + LOCK_SECONDS, replaces=version)

    def __enter__(self) -> None:
        self._renewing.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._over.set()
        self._renewing.join(timeout=RENEWED_EVERY_SECONDS)
        failure = getattr(error, "what", type(error).__name__)[:300] if error is not None else ""
        try:
            if failure:
                self._write(until=0.0, replaces=None, failure=failure)
            else:
                self._model_store.store.delete([self._key])
        except CvlError:
            return  # it expires by itself

    def _renew(self) -> None:
        while not self._over.wait(RENEWED_EVERY_SECONDS):
            try:
                self._write(until=self._clock.now() + LOCK_SECONDS, replaces=None)
            except CvlError:
                continue  # the next renewal may succeed in time

    def _write(self, *, until: float, replaces: str | None, failure: str = "") -> bool:
        document = {"owner": self._owner, "until": until, "failure": failure, "failed_at": self._clock.now()}
        return self._model_store.store.put(self._key, json.dumps(document).encode(), labels={}, replaces=replaces)


def _read(content: bytes) -> _Lock | None:
    """Return the lock; None for content that is none, which the next leg replaces."""
    try:
        document = json.loads(content)
        return _Lock(
            until=float(document["until"]), failure=str(document["failure"]), failed_at=float(document["failed_at"])
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
