"""Hold the runner's copy of a run's checkpoints: over all machines of the run, and for its outputs at the end."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvl_ci.engine.fetch import transfer
from cvl_ci.engine.fetch.fetched_archives import Brought
from cvl_ci.engine.machine.checkpoints import sync
from cvl_ci.engine.machine.checkpoints.local_folder import Folder
from cvl_ci.model.checkpoint_plan import StoredCheckpoint
from cvl_ci.ports import CheckpointBytes, Fetched, Progress, Watch
from cvl_ci.result.units import size

MOST_TROUBLES = 3
"""So many failed copies in a row are shown, and so many refused checkpoints of a run."""

TOLD_BYTES = 64 << 20
"""So many bytes are one event, which saves the state of the step."""


class RunnerCheckpoints:
    """The copy of a run's checkpoints. Every byte that comes for it is traffic, which clouds bill."""

    def __init__(self) -> None:
        self._folder = transfer.folder()
        self._untold_bytes = 0
        self._refusal, self._refusals, self._troubles = "", 0, 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the last refusal, and the number of those before: a job may write any number of checkpoints."""
        if not self._refusal:
            return ()
        earlier_count = self._refusals - 1
        return (self._refusal + (f" The same happened to {earlier_count:,} before it." if earlier_count else ""),)

    @property
    def path(self) -> Path:
        return Path(self._folder.name)

    @property
    def _store(self) -> Folder:
        return Folder(str(self.path / "place"))

    def request(self, cluster: str, *, interval: float) -> dict[str, Any]:
        """Return the worker's request. `interval`: seconds between two looks of the machine."""
        return {"place": _place(cluster), "into": str(self.path), "every": interval}

    def note(self, event: Mapping[str, Any], watch: Watch) -> None:
        """Note and show the worker's message about a copy. A machine chose its values, so no value ends a run."""
        try:
            self._note(event, watch)
        except (ArithmeticError, ValueError) as error:
            watch(Progress(text=f"a message about a checkpoint could not be read ({type(error).__name__})"))

    def _note(self, event: Mapping[str, Any], watch: Watch) -> None:
        kind = event["kind"]
        if kind == "checkpoint_bytes":
            self._untold_bytes += int(event["bytes"])
            if self._untold_bytes >= TOLD_BYTES:
                self.tell_bytes(watch)
        elif kind == "checkpoint_here":
            self._troubles = 0
            watch(Progress(text=f"the checkpoint {_path(event)}, {size(event['bytes'])}, is on this computer"))
        elif kind == "checkpoint_refused":
            text = (
                f"The checkpoint {_path(event)} stays on its machine: it has {size(event['bytes'])} in "
                f"{event['files']:,} files, and {size(event['room'])} fit here. A loss of the machine loses it. "
                "Give checkpoint_to a bucket, or save less."
            )
            self._refuse(text, watch)
        elif kind == "checkpoint_torn":
            self._refuse(
                f"The checkpoint {_path(event)} did not come whole in {event['tries']} tries, so it stays on its "
                f"machine: {event['text']} A loss of the machine loses it.",
                watch,
            )
        elif kind == "checkpoint_trouble":
            self._troubles += 1
            if self._troubles <= MOST_TROUBLES:
                watch(Progress(text=f"the checkpoint could not be copied now, trying again: {event['text']}"))

    def tell_bytes(self, watch: Watch) -> None:
        """Tell of the bytes that no event has counted yet."""
        if self._untold_bytes:
            watch(CheckpointBytes(count=self._untold_bytes))
            self._untold_bytes = 0

    def _refuse(self, text: str, watch: Watch) -> None:
        self._refusal, self._refusals = text, self._refusals + 1
        if self._refusals <= MOST_TROUBLES:
            watch(Progress(text=text))

    def newest(self) -> StoredCheckpoint | None:
        """Return the checkpoint from which new machines go on; None: there is none."""
        manifest = self._newest()
        if manifest is None or not math.isfinite(manifest["at"]):
            return None
        return StoredCheckpoint(name=_path(manifest), step=manifest["step"], at=manifest["at"])

    def files_for(self, cluster: str) -> dict[str, str]:
        """Return the folder that new machines get, by its place there; none without a checkpoint."""
        return {_place(cluster): str(self.path / "place")} if self._newest() is not None else {}

    def as_outputs(self, *, directory: str) -> Brought | None:
        """Pack the newest checkpoint as a machine packs its outputs; None without one."""
        manifest = self._newest()
        if manifest is None:
            return None
        brought = Brought(globs=(), directory=directory)
        try:
            self._pack(manifest, brought.path / "0")
        except BaseException:
            brought.drop()
            raise
        return brought

    def unpacked(self, into: Path, *, directory: str, environment: Mapping[str, str], within: float) -> Fetched:
        """Unpack the newest checkpoint as outputs; nothing without one. Raise UnpackStopped. `within`: seconds."""
        try:
            brought = self.as_outputs(directory=directory)
            if brought is None:
                return Fetched()
            fetched = brought.unpacked(into, environment=environment, within=within)
        except (OSError, ValueError, tarfile.TarError) as error:
            return Fetched(problem=f"The newest checkpoint on this computer could not be unpacked: {error}"[:500])
        return replace(fetched, is_copy=True, is_whole_copy=bool(fetched.files) and fetched.problem is None)

    def _pack(self, manifest: Mapping[str, Any], node: Path) -> None:
        node.mkdir()
        for base in ("root", "work"):
            entries = [entry for entry in manifest["files"] if entry["path"].startswith(f"{base}/")]
            if entries:
                with tarfile.open(node / f"{base}.tar", "w", format=tarfile.GNU_FORMAT) as archive:
                    for entry in entries:
                        name = entry["path"].partition("/")[2]
                        archive.add(self.path / "place" / entry["key"], arcname=f"./{name}", recursive=False)

    def drop(self) -> None:
        self._folder.cleanup()

    def _newest(self) -> dict[str, Any] | None:
        return next(iter(sync.stored(self._store)), None)


def _place(cluster: str) -> str:
    return f"~/.cvl-ci/{cluster}/sync/place"


def _path(named: Mapping[str, Any]) -> str:
    """Return the path of a checkpoint without the short name of the folder on the machine, `root/` or `work/`."""
    return str(named["name"]).partition("/")[2][:300]
