"""Store the results of a job whose run has gone, and end this machine: `detached.py STATE SHELL`.

A program for the machine's own Python, outside of the job's shell. It waits for the job's end, by STATE/detached/over
or by the end of SHELL. It packs the outputs, uploads log, archives and end, and writes the manifest last. Then it ends
the machine through its deadline, which root's timer obeys (deadline.sh). CVL_CI_DETACHED holds the place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

LOOK_SECONDS = 1.0
LIVE_SECONDS = 60.0
"""The log so far is stored so often, for the case that this machine is lost."""
TRY_SECONDS = 10.0
PACK_SECONDS = 900.0
HANDOVER_SECONDS = 600.0
"""Without a handover in this time after the job, the run is lost: the machine ends."""
LINGER_SECONDS = 60.0
"""The run's process still labels the machine at its handover. model/detached.py has the same number."""
DEADLINE = "/var/lib/cvl-ci/deadline"
LOGS = [f"log/{stream}/{part}" for stream in ("setup", "running") for part in ("old", "new")]
PIECE = 1 << 20


class Place:
    """A folder of a bucket in S3."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, f"{prefix}/" if prefix else ""

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content)

    def put_file(self, key: str, path: str) -> None:
        self._client.upload_file(path, self._bucket, self._prefix + key)


class Results:
    """The results of the job in STATE."""

    def __init__(self, place: Place, state: str, deadline: str = DEADLINE) -> None:
        self._place, self._state, self._deadline = place, state, deadline
        self._own = os.path.join(state, "detached")
        self._stored: dict[str, tuple[int, int]] = {}
        self._began = time.time()

    # ---- during the job ---------------------------------------------------------------------------------------

    def store_log(self) -> None:
        """Store the parts of the log that have changed. A failure changes nothing: the next time stores more."""
        for name, path in self._logs():
            with contextlib.suppress(Exception):  # boto3 makes its classes at run time
                now = os.stat(path)
                if self._stored.get(name) != (now.st_size, now.st_mtime_ns):
                    self._place.put_file(name, path)
                    self._stored[name] = (now.st_size, now.st_mtime_ns)

    # ---- after it -----------------------------------------------------------------------------------------------

    def store(self) -> None:
        """Store everything, the manifest last. Try again until it succeeds: the machine's deadline bounds it."""
        ended_at = time.time()
        end, _ = self._run("end.sh", 60.0)
        announced, problem = self._run("collect.sh", PACK_SECONDS)
        files = [*self._logs(), *self._archives(announced)]
        entries = [_patiently(partial(self._upload, *file)) for file in files]
        manifest = {"version": 1, "ended_at": ended_at, "end": end, "problem": problem, "files": entries}
        _patiently(lambda: self._place.put("manifest.json", json.dumps(manifest).encode()))

    def await_handover(self, pause: Callable[[float], None] = time.sleep) -> None:
        """Wait until the run has handed the machine over. An attached run fetches the files of a short job itself."""
        stop = time.time() + HANDOVER_SECONDS
        while self._handed_over_at() is None and time.time() < stop:
            pause(LOOK_SECONDS)

    def end_machine(self, pause: Callable[[float], None] = time.sleep) -> None:
        """End this machine, once the run's process had time for its last words after the handover."""
        handed_over = self._handed_over_at()
        if handed_over is not None:
            pause(max(0.0, handed_over + LINGER_SECONDS - time.time()))
        say("the results are stored, and this machine ends now")
        if os.path.exists(self._deadline):
            text = f"echo 1 > {self._deadline}.new && mv {self._deadline}.new {self._deadline}"
            subprocess.run(["sudo", "-n", "sh", "-c", text], check=False, timeout=60)
        else:
            subprocess.run(["sudo", "-n", "shutdown", "-P", "now"], check=False, timeout=60)

    def _handed_over_at(self) -> float | None:
        """Return when the run moved the machine's end (keep.sh): that is its handover. None: it has not yet."""
        try:
            moved = os.stat(self._deadline).st_mtime
        except OSError:
            return self._began
        return moved if moved >= self._began else None

    def _upload(self, name: str, path: str) -> dict[str, Any]:
        size, digest = _fingerprint(path)
        self._place.put_file(name, path)
        return {"name": name, "size": size, "sha256": digest}

    def _logs(self) -> Iterator[tuple[str, str]]:
        for name in LOGS:
            path = os.path.join(self._state, name)
            if os.path.isfile(path):
                yield name, path

    def _archives(self, announced: str) -> Iterator[tuple[str, str]]:
        for line in announced.splitlines():
            words = line.split()
            if len(words) == 3 and words[0] == "archive" and "/" not in words[1]:
                yield f"fetch/{words[1]}", os.path.join(self._state, "fetch", words[1])

    def _run(self, name: str, seconds: float) -> tuple[str, str]:
        """Return what one of the programs of script.py printed, and its failure in words."""
        words = ["bash", os.path.join(self._own, name)]
        try:
            process = subprocess.run(words, capture_output=True, check=False, timeout=seconds)
        except (OSError, subprocess.TimeoutExpired) as error:
            return "", f"{name}: {type(error).__name__}"
        text = process.stderr.decode("utf-8", "replace").strip()[-300:]
        return process.stdout.decode("utf-8", "replace"), (
            text or f"status {process.returncode}"
        ) if process.returncode else ""


def _fingerprint(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _patiently(act: Callable[[], Any]) -> Any:
    """Do this, again and again without an answer of the bucket."""
    while True:
        try:
            return act()
        except Exception as error:  # noqa: BLE001  boto3 makes its classes at run time
            say(f"the bucket did not take it: {type(error).__name__}: {str(error)[:300]}")
        time.sleep(TRY_SECONDS)


def until_over(results: Results, is_over: Callable[[], bool], pause: Callable[[float], None] = time.sleep) -> None:
    """Wait until the job is over, and store its log meanwhile."""
    stored_at = time.monotonic()
    while not is_over():
        pause(LOOK_SECONDS)
        if time.monotonic() - stored_at >= LIVE_SECONDS:
            results.store_log()
            stored_at = time.monotonic()


def say(text: str) -> None:
    """Print a line into the program's own log."""
    print(f"cvl-ci: {text}", flush=True)  # noqa: T201  its output is the log


def main(state: str, shell: str) -> None:
    import boto3
    from botocore.config import Config

    request = json.loads(os.environ["CVL_CI_DETACHED"])
    config = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=5, read_timeout=30)
    client = boto3.client("s3", region_name=os.environ.get("AWS_REGION") or "us-east-1", config=config)
    results = Results(Place(client, request["bucket"], request["prefix"]), state)
    over = os.path.join(state, "detached", "over")
    until_over(results, lambda: os.path.exists(over) or not os.path.exists(f"/proc/{shell}"))
    results.await_handover()
    results.store()
    results.end_machine()


if __name__ == "__main__":
    main(*sys.argv[1:])
