"""Copy the newest checkpoint of a machine to the runner during the job, in the worker process.

The machine stores complete checkpoints in a folder of its own, as engine/machine/checkpoints/sync.py describes. Every
name, size and byte of it is the machine's claim: a checkpoint counts here when each file has its SHA-256.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cvl_ci.engine import node_commands
from cvl_ci.engine.machine.checkpoints import sync
from cvl_ci.engine.machine.checkpoints.local_folder import Folder

LARGEST_BYTES = 10 << 30
"""A larger checkpoint stays on its machine: each copy of it takes minutes, and clouds bill the traffic."""
RESERVE_BYTES = 1 << 30
"""So much stays free on the runner's disk."""
MOST_FILES, LARGEST_MANIFEST = 1000, 4 << 20
LOOK_SECONDS, END_SECONDS = 10.0, 5.0
SLACK_BYTES = 2 << 20
"""Bytes next to the files: a login shell may print first."""
WATCH_SECONDS, STALL_SECONDS = 0.5, 120.0
KEPT = 1
_LISTED = re.compile(r"manifest (?P<size>[0-9]{1,12}) (?P<sha256>[0-9a-f]{64}) (?P<name>[A-Za-z0-9._=-]{1,120})")
_LIST = (
    'cd {place}/manifests 2> /dev/null && for one in *; do [ -f "$one" ] && '
    'echo "manifest $(wc -c < "$one") $(sha256sum < "$one" | cut -c 1-64) $one"; done | head -n 200; true'
)

Tell = Callable[..., None]


class Machine(NamedTuple):
    """A machine's folder of checkpoints. `ask`: run a command there, and return what it prints.

    `bring`: copy files, by name below `place` and size, to a folder here; return the problems.
    """

    place: str
    ask: Callable[[str], str]
    bring: Callable[[Sequence[tuple[str, int]], Path], Sequence[str]]


class CheckpointCopy:
    """The copy in `folder`, in the layout of the machine's. `tell(kind, **values)`: messages for the run's process."""

    def __init__(self, folder: Path, machine: Machine, *, tell: Tell, room: Callable[[], int] | None = None) -> None:
        self._folder, self._machine, self._tell = folder, machine, tell
        self.store = Folder(str(folder / "place"))
        self._room = room or self._free
        self._manifests: dict[tuple[str, str], dict[str, Any]] = {}
        self._refused: set[tuple[str, str]] = set()

    def look(self) -> None:
        """Copy the newest checkpoint if it is not here. Raises what SkyPilot's connection raises."""
        listing = self._listing()
        self._manifests = {key: one for key, one in self._manifests.items() if key in listing}
        self._refused &= listing.keys()
        for key, size in listing.items():
            if key not in self._manifests and (one := self._manifest(key, size)) is not None:
                self._manifests[key] = one
        readable = {key: one for key, one in self._manifests.items() if one}
        newest = max(readable, key=lambda key: _age(readable[key]), default=None)
        if newest is None or newest in self._refused:
            return
        own = next(iter(sync.stored(self.store)), None)
        if own is not None and _age(own) >= _age(readable[newest]):
            return
        self._copy(newest, readable[newest])

    def _listing(self) -> dict[tuple[str, str], int]:
        lines = self._machine.ask(_LIST.format(place=self._machine.place)).splitlines()
        matches = [match for line in lines if (match := _LISTED.fullmatch(line.strip()))]
        return {(match["name"], match["sha256"]): int(match["size"]) for match in matches}

    def _manifest(self, key: tuple[str, str], size: int) -> dict[str, Any] | None:
        """Return a manifest of the machine; empty for another text, None for a text that did not come whole."""
        name, digest = key
        if size > LARGEST_MANIFEST:
            return {}
        with self._arriving() as incoming:
            self._machine.bring([(f"{sync.MANIFESTS}{name}", size)], incoming)
            path = incoming / sync.MANIFESTS / name
            if not path.is_file() or sync.fingerprint(str(path)) != (size, digest):
                return None
            manifest = next(iter(sync.stored(Folder(str(incoming)))), None)
            if manifest is None or sync.manifest_key(manifest["name"]) != f"{sync.MANIFESTS}{name}":
                return {}
            return manifest if all(entry["size"] >= 0 for entry in manifest["files"]) else {}

    def _copy(self, key: tuple[str, str], manifest: Mapping[str, Any]) -> None:
        files = {str(entry["key"]): entry for entry in manifest["files"]}
        total = sum(int(entry["size"]) for entry in files.values())
        room = min(LARGEST_BYTES, self._room())
        if total > room or len(files) > MOST_FILES:
            self._refused.add(key)
            self._tell("checkpoint_refused", name=manifest["name"], bytes=total, files=len(files), room=room)
            return
        with self._arriving() as incoming:
            self._machine.bring([(name, int(entry["size"])) for name, entry in files.items()], incoming)
            arrived = sum(path.stat().st_size for path in incoming.rglob("*") if path.is_file())
            self._tell("checkpoint_bytes", bytes=arrived)
            if not all(_is_whole(incoming / name, entry) for name, entry in files.items()):
                return  # the machine has a newer one, or is gone: the next look tells
            for name in files:
                target = self._folder / "place" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (incoming / name).replace(target)
        self.store.put(sync.manifest_key(manifest["name"]), sync.packed(manifest))
        sync.prune(self.store, keep=KEPT)
        self._tell("checkpoint_here", name=manifest["name"], bytes=total)

    @contextmanager
    def _arriving(self) -> Iterator[Path]:
        """Yield the folder in which files of the machine arrive. node_commands.py puts them below the rank."""
        folder = self._folder / "arriving"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder / "0"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _free(self) -> int:
        return max(0, shutil.disk_usage(self._folder).free - RESERVE_BYTES)


def _age(manifest: Mapping[str, Any]) -> tuple[float, int, str]:
    return float(manifest["at"]), int(manifest["step"]), str(manifest["name"])


def _is_whole(path: Path, entry: Mapping[str, Any]) -> bool:
    return path.is_file() and sync.fingerprint(str(path)) == (entry["size"], entry["sha256"])


@contextmanager
def _bounded(folder: Path, *, most: int, place: str) -> Iterator[None]:
    """End the transfer if it brings more bytes than `most`, or none for some time: a machine may send without end."""
    over = threading.Event()

    def watch() -> None:
        arrived, moved_at = 0, time.monotonic()
        while not over.wait(WATCH_SECONDS):
            now = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if now > arrived:
                arrived, moved_at = now, time.monotonic()
            if now > most or time.monotonic() - moved_at > STALL_SECONDS:
                _end_connections(place)

    watcher = threading.Thread(target=watch, daemon=True, name="checkpoint-bounds")
    watcher.start()
    try:
        yield
    finally:
        over.set()


def _end_connections(place: str) -> None:
    """End each program of this process whose command line names the place, with its children."""
    import psutil  # type: ignore[import-untyped]  # SkyPilot brings it

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if place in " ".join(child.cmdline()):
                for one in (*child.children(recursive=True), child):  # a shell's own child would write on without it
                    one.kill()


@contextmanager
def during(request: Mapping[str, Any] | None, *, runners: Callable[[], Sequence[Any]], send: Tell) -> Iterator[None]:
    """Copy checkpoints while a job runs. `request`: `place` on the machine, `into` here; None: there is no copy.

    `runners`: SkyPilot's connections. A copy that fails is tried again at the next look.
    """
    if request is None:
        yield
        return

    def ask(command: str) -> str:
        return str(node_commands.ask(runners()[:1], command)[0]["out"])

    def bring(files: Sequence[tuple[str, int]], into: Path) -> Sequence[str]:
        most = sum(size for _, size in files) + SLACK_BYTES
        with _bounded(into.parent, most=most, place=request["place"]):
            return node_commands.bring(runners()[:1], remote=request["place"], files=[files], into=into.parent)

    copy = CheckpointCopy(Path(request["into"]), Machine(request["place"], ask, bring), tell=send)
    over = threading.Event()

    def work() -> None:
        while not over.wait(min(LOOK_SECONDS, float(request["every"]))):
            try:
                copy.look()
            except Exception as error:  # noqa: BLE001  SkyPilot raises many kinds, and a machine chose the files
                send("checkpoint_trouble", text=f"{type(error).__name__}: {error}"[:300])

    thread = threading.Thread(target=work, daemon=True, name="checkpoints")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(END_SECONDS)
