"""Bring the last checkpoint back before the job, and store new ones during it: `main(restore|watch, STATE, ...)`.

A program for the machine's own Python, outside of the job's shell. checkpoints.sh starts it with CVL_CI_CHECKPOINTS in
the environment, and reads its answer from files in STATE.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import bucket, local_folder, notice, rounds, scan, snapshot, sync

ANSWER_SECONDS = 180.0
"""The place has so long to answer before the job. Without its answer, the job does not begin: it would start again from
its beginning, and its new checkpoints would replace better ones.
"""
TRY_SECONDS = 10.0
NOTICE_SECONDS = 5.0
PAUSE_SECONDS = 0.5
BUCKET_CLOUDS, FOLDER_CLOUDS = ("aws",), ("aws", "gcp", "azure")
"""The clouds whose notice counts. SkyPilot gives machines of AWS alone a role and boto3."""
RUN, LATEST, NONE = "run", "latest", "none"


class CheckpointStore:
    """The request of the environment, and its bucket. `bases`: the folders in which checkpoints may lie.

    `client`: of S3. None: the place is a folder of this machine, whose checkpoints the runner copies.
    """

    def __init__(self, request: dict[str, Any], *, state: str, bases: dict[str, str], client: Any) -> None:
        self.request, self.state, self.bases = request, state, bases
        self._client = client
        self.rules = snapshot.rules(request["rules"])

    @property
    def states_path(self) -> str:
        """Return the path of the file about the checkpoints that were here before the job."""
        return os.path.join(self.state, "sync", "known.json")

    def of_run(self, run: str) -> sync.Store:
        if self._client is None:
            return local_folder.Folder(os.path.join(self.state, "sync", "place"))
        return self._of_bucket(run)

    def _of_bucket(self, run: str) -> bucket.BucketStore:
        prefix = "/".join(filter(None, [self.request["work"], run]))
        return bucket.BucketStore(self._client, self.request["bucket"], prefix)

    def restored(self, rank: int) -> dict[str, Any] | None:
        """Bring back the newest whole checkpoint: of this run, or else of the latest run that has one."""
        resume, own = self.request["resume"], self.request["run"]
        runs = [] if resume == NONE else [own]
        if resume == LATEST:
            runs += [run for run in self._of_bucket("").runs() if run != own]
        for run in runs:
            manifest = sync.restore(self.of_run(run), into=self._roots(), rank=rank, is_wanted=self.is_wanted)
            if manifest is not None:
                return {**manifest, "run": run}
        return None

    def is_wanted(self, name: str) -> bool:
        """Return whether a name is that of a checkpoint by the user's globs: another one could replace the code."""
        base, _, path = name.partition("/")
        return base in self.bases and snapshot.is_chosen(path, self.rules)

    def _roots(self) -> str:
        """Return a folder whose names lead to the folders of the checkpoints."""
        roots = os.path.join(self.state, "sync", "roots")
        os.makedirs(roots, exist_ok=True)
        for base, folder in self.bases.items():
            os.makedirs(folder, exist_ok=True)
            if not os.path.lexists(os.path.join(roots, base)):
                os.symlink(folder, os.path.join(roots, base))
        return roots


def restore(place: CheckpointStore, rank: int) -> int:
    """Restore, and write STATE/resumed: the path of the checkpoint. Return the exit code."""
    manifest = place.restored(rank)
    _write(place.states_path, json.dumps({unit.name: unit.states for unit in snapshot.units(place.bases, place.rules)}))
    if manifest is None:
        say("there is no checkpoint to go on from" if place.request["resume"] != NONE else "no checkpoint is restored")
        return 0
    base, _, path = manifest["name"].partition("/")
    at = os.path.join(place.bases[base], path)
    source = "" if manifest["run"] == place.request["run"] else f" of {manifest['run']}"
    moment = time.strftime("%H:%M:%S UTC", time.gmtime(manifest["at"]))
    say(f"the job goes on from {path}{source}, stored at {moment}; each file has its SHA-256")
    _write(os.path.join(place.state, "resumed"), at + "\n")
    return 0


def patiently(do: Callable[[], int]) -> int:
    """Do this, again for some minutes without an answer of the bucket. Return 1 without one."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return do()
        except (sync.NoAnswer, OSError) as error:
            if time.monotonic() > end or isinstance(error, (OSError, sync.NoPlace)):
                say(f"the checkpoints cannot be read: {type(error).__name__}: {str(error)[:300]}")
                return 1
        time.sleep(TRY_SECONDS)


def watch(place: CheckpointStore, rank: int, nodes: int, shell: int) -> int:
    """Store new checkpoints until STATE/sync/over exists, or the job's shell is gone."""
    request, scratch = place.request, os.path.join(place.state, "sync", "held")
    shutil.rmtree(scratch, ignore_errors=True)
    one = rounds.Request(
        bases=place.bases,
        rules=place.rules,
        scratch=scratch,
        interval=float(request["every"]),
        keep=int(request["keep"]),
        rank=rank,
        nodes=nodes,
        generation=int(request["attempt"]),
    )
    with open(place.states_path, encoding="utf-8") as file:
        stored: rounds.States = {
            name: {path: scan.FileState(*state) for path, state in states.items()}
            for name, states in json.load(file).items()
        }
    syncing = rounds.Rounds(one, place.of_run(request["run"]), say=say, stored_states=stored)
    over, noticed = os.path.join(place.state, "sync", "over"), threading.Event()
    clouds = BUCKET_CLOUDS if request["bucket"] else FOLDER_CLOUDS
    threading.Thread(target=_await_notice, args=(noticed, clouds), daemon=True).start()
    events = rounds.Watch(
        is_over=lambda: os.path.exists(over) or not os.path.exists(f"/proc/{shell}"),
        has_notice=noticed.is_set,
        pause=lambda: time.sleep(PAUSE_SECONDS),
    )
    rounds.until_over(syncing, events)
    return 0


def _await_notice(noticed: threading.Event, clouds: Sequence[str]) -> None:
    while (seconds := next(filter(None, map(notice.seconds_left, clouds)), None)) is None:
        time.sleep(NOTICE_SECONDS)
    say(f"the provider takes this machine away in {seconds:.0f} s")
    noticed.set()


def say(text: str) -> None:
    """Print a line of the job's log."""
    print(f"cvl-ci: {text}", flush=True)  # noqa: T201  its output is the log


def main(verb: str, state: str, root: str, work: str, *numbers: str) -> None:
    request = json.loads(os.environ["CVL_CI_CHECKPOINTS"])
    try:
        client = bucket.client() if request["bucket"] else None
    except ImportError:
        say("checkpoints in a bucket need boto3, which SkyPilot installs on AWS machines alone")
        sys.exit(1)
    place = CheckpointStore(request, state=state, bases={"root": root, "work": work}, client=client)
    counts = [int(number) for number in numbers]
    sys.exit(patiently(lambda: restore(place, *counts)) if verb == "restore" else watch(place, *counts))


def _write(path: str, text: str) -> None:
    with open(f"{path}.tmp", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.tmp", path)
