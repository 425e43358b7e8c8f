"""Copy the newest checkpoint of a machine to the runner during the job, in the worker process.

The machine stores complete checkpoints in a folder of its own, as engine/machine/checkpoints/sync.py describes. Every
name, size and byte of it is the machine's claim: a checkpoint counts here when each file has its SHA-256.
"""

from __future__ import annotations

import math
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cvl_ci.engine.fetch.checkpoint_connection import CheckpointConnection, CopyIsOver, Tell
from cvl_ci.engine.machine.checkpoints import sync
from cvl_ci.engine.machine.checkpoints.local_folder import Folder

LARGEST_BYTES = 10 << 30
"""A larger checkpoint stays on its machine: each copy of it takes minutes, and clouds bill the traffic."""
RESERVE_BYTES = 1 << 30
"""So much stays free on the runner's disk."""
MOST_FILES, LARGEST_MANIFEST = 1000, 4 << 20
LOOK_SECONDS, END_SECONDS = 3.0, 5.0
KEPT = 1
TORN_TRIES = 3
"""So often a checkpoint that does not come whole is tried."""
LARGEST_NUMBER = 1 << 50
"""No real size or step is larger. Python cannot print every number that a manifest may hold."""
_LISTED = re.compile(
    r"manifest (?P<size>[0-9]{1,12}) (?P<sha256>[0-9a-f]{64}) (?P<name>[A-Za-z0-9._=-]{1,100}-[0-9a-f]{12})"
)
_LIST = (
    'cd {place}/manifests 2> /dev/null && for one in *; do [ -f "$one" ] && '
    'echo "manifest $(wc -c < "$one") $(sha256sum < "$one" | cut -c 1-64) $one"; done | head -n 200; true'
)


class CheckpointCopy:
    """The copy in `folder`, in the layout of the machine's. `tell(kind, **values)`: messages for the run's process."""

    def __init__(
        self, folder: Path, machine: CheckpointConnection, *, tell: Tell, room: Callable[[], int] | None = None
    ) -> None:
        self._folder, self._machine, self._tell = folder, machine, tell
        self.store = Folder(str(folder / "place"))
        self._room = room or self._free
        self._manifests: dict[tuple[str, str], dict[str, Any]] = {}
        self._refused: set[tuple[str, str]] = set()
        self._torn: dict[tuple[str, str], int] = {}

    def copy_newest(self) -> None:
        """Copy the newest checkpoint if it is not here. Raises what SkyPilot's connection raises."""
        listing = self._listing()
        self._manifests = {key: one for key, one in self._manifests.items() if key in listing}
        self._refused &= listing.keys()
        self._torn = {key: tries for key, tries in self._torn.items() if key in listing}
        for key, size in listing.items():
            if key in self._manifests:
                continue
            one = self._manifest(key, size)
            if one is not None:
                self._manifests[key] = one
            elif self._count_torn_try(key, f"the manifest {key[0]} did not come whole"):
                self._manifests[key] = {}
        readable = {key: one for key, one in self._manifests.items() if one}
        newest = max(readable, key=lambda key: _age(readable[key]), default=None)
        if newest is None or newest in self._refused:
            return
        own = next(iter(sync.stored(self.store)), None)
        if own is not None and _age(own) >= _age(readable[newest]):
            return
        self._copy(newest, readable[newest])

    def _listing(self) -> dict[tuple[str, str], int]:
        with self._arriving() as incoming:
            lines = self._machine.printed(_LIST.format(place=self._machine.place), incoming).splitlines()
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
            return manifest if manifest is not None and _is_sound(manifest, key=f"{sync.MANIFESTS}{name}") else {}

    def _copy(self, key: tuple[str, str], manifest: Mapping[str, Any]) -> None:
        files = {str(entry["key"]): entry for entry in manifest["files"]}
        total = sum(int(entry["size"]) for entry in files.values())
        room = min(LARGEST_BYTES, self._room())
        if total > room or len(files) > MOST_FILES:
            self._refused.add(key)
            self._tell("checkpoint_refused", name=manifest["name"], bytes=total, files=len(files), room=room)
            return
        with self._arriving() as incoming:
            problems = self._machine.bring([(name, int(entry["size"])) for name, entry in files.items()], incoming)
            if not all(_is_whole(incoming / name, entry) for name, entry in files.items()):
                text = " ".join(problems) or f"the files of {manifest['name']} are not as its manifest names them"
                if self._count_torn_try(key, text):
                    self._refused.add(key)
                    self._tell("checkpoint_torn", name=manifest["name"], tries=TORN_TRIES, text=text[:300])
                return
            for name in files:
                target = self._folder / "place" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (incoming / name).replace(target)
        self.store.put(sync.manifest_key(manifest["name"]), sync.manifest_bytes(manifest))
        sync.prune(self.store, keep=KEPT)
        self._tell("checkpoint_here", name=manifest["name"], bytes=total)

    def _count_torn_try(self, key: tuple[str, str], text: str) -> bool:
        """Count a try that brought no whole file. Return whether it was the last one; tell of an earlier one."""
        self._torn[key] = self._torn.get(key, 0) + 1
        if self._torn[key] >= TORN_TRIES:
            return True
        self._tell("checkpoint_trouble", text=text[:300])
        return False

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
        """Return a third of the disk: at the end a checkpoint lies here, in an archive, and among the outputs."""
        return max(0, shutil.disk_usage(self._folder).free - RESERVE_BYTES) // 3


def _age(manifest: Mapping[str, Any]) -> tuple[float, int, str]:
    return float(manifest["at"]), int(manifest["step"]), str(manifest["name"])


def _is_sound(manifest: Mapping[str, Any], *, key: str) -> bool:
    """Return whether cvl-ci can name, add up and store the values of a manifest. A machine chose them."""
    files, name = manifest["files"], manifest["name"]
    try:
        for text in (name, *(entry["path"] for entry in files)):
            text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return (
        sync.manifest_key(name) == key
        and math.isfinite(manifest["at"])
        and abs(manifest["step"]) <= LARGEST_NUMBER
        and all(0 <= entry["size"] <= LARGEST_NUMBER for entry in files)
    )


def _is_whole(path: Path, entry: Mapping[str, Any]) -> bool:
    return path.is_file() and sync.fingerprint(str(path)) == (entry["size"], entry["sha256"])


@contextmanager
def during(request: Mapping[str, Any] | None, *, runners: Callable[[], Sequence[Any]], send: Tell) -> Iterator[None]:
    """Copy checkpoints while a job runs. `request`: `place` on the machine, `into` here; None: there is no copy.

    `runners`: SkyPilot's connections. A copy that fails is tried again at the next look.
    """
    if request is None:
        yield
        return

    machine = CheckpointConnection(request["place"], runners=runners, tell=send)
    copy = CheckpointCopy(Path(request["into"]), machine, tell=send)
    over = threading.Event()

    def work() -> None:
        while not over.wait(min(LOOK_SECONDS, float(request["every"]))):
            try:
                copy.copy_newest()
            except CopyIsOver:
                return
            except Exception as error:  # noqa: BLE001  SkyPilot raises many kinds, and a machine chose the files
                send("checkpoint_trouble", text=f"{type(error).__name__}: {error}"[:300])

    thread = threading.Thread(target=work, daemon=True, name="checkpoints")
    thread.start()
    try:
        yield
    finally:
        over.set()
        end = time.monotonic() + END_SECONDS
        while thread.is_alive() and time.monotonic() < end:  # the job's outputs have the connection now
            machine.end()
            thread.join(0.2)
