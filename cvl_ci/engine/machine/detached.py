"""Store the results of a job whose run has gone, and end this machine: `main(try, STATE)`, `main(store, STATE, SHELL)`.

A program for the machine's own Python, outside of the job's shell. CVL_CI_DETACHED holds the place. `try` stores a
small object before the job. `store` gets the values of secrets at its standard input, each with a zero byte after it.
It waits for the job's end, by STATE/detached/over or by the end of SHELL. It packs the outputs, uploads log, archives
and end, and writes the manifest last. Then it ends the machine through its deadline, which root's timer obeys
(deadline.sh). The machine of a managed job is not ended here: its controller does that, once the job's shell has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvl_ci.result.masks import Masks

LOOK_SECONDS = 1.0
LIVE_SECONDS = 60.0
"""The log so far is stored so often, for the case that this machine is lost."""
TRY_SECONDS = 10.0
PACK_SECONDS = 900.0
TRIED = "tried"
"""The small object that proves the place before the job."""
REFUSED_SECONDS, REFUSED_AT_FIRST_SECONDS = 180.0, 30.0
"""A refusal lasts so long before it counts, after the job and before it: new rights arrive late."""
SILENT_AT_FIRST_SECONDS = 180.0
"""The place has so long to answer before the job."""
HANDOVER_SECONDS = 600.0
"""Without a handover in this time after the job, the run is lost: the machine ends."""
RESULTS_SECONDS = 240.0
"""The results get at least this rest of the machine's time. A job at its limit leaves 300 s (model/limits.py)."""
LINGER_SECONDS = 60.0
"""The run's process still labels the machine at its handover. model/detached.py has the same number."""
DEADLINE = "/var/lib/cvl-ci/deadline"
MANIFEST = "manifest.json"
IS_OVER = 3
"""The exit code of `try` where an earlier machine of a managed job has stored the end."""
LOGS = [f"log/{stream}/{part}" for stream in ("setup", "running") for part in ("old", "new")]
PIECE = 1 << 20
LINE = 1 << 19
"""A longer line is masked in pieces, as result/masked_lines.py expects them."""
REFUSAL = re.compile(r"AccessDenied|NoSuchBucket|AllAccessDisabled|InvalidAccessKeyId|Unable to locate credentials")
"""Codes of the Amazon S3 API Reference, and botocore's own words. boto3 makes its classes at run time."""
PYTHON = (3, 10)
"""The least version for the modules of result/."""
PASSWORD = re.compile(r"://[^/\s@:]*:([^@/\s]+)@")


class S3Folder:
    """A folder of a bucket in S3."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, f"{prefix}/" if prefix else ""

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content)

    def put_file(self, key: str, path: str) -> None:
        self._client.upload_file(path, self._bucket, self._prefix + key)

    def has(self, key: str) -> bool:
        """Return whether the place shows the object. Without an answer, nothing shows it."""
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except Exception:  # noqa: BLE001  boto3 makes its classes at run time
            return False
        return True


class Retries:
    """Repetition of an act. A refusal has `refused` seconds over all acts, and silence has `silent`."""

    def __init__(self, *, refused: float, silent: float = math.inf) -> None:
        self._limits, self._began = {True: refused, False: silent}, dict[bool, float]()

    def __call__(self, act: Callable[[], Any], pause: Callable[[float], None] = time.sleep) -> Any:
        """Return the act's answer. Raise its last error when the time is over."""
        while True:
            try:
                return act()
            except Exception as error:
                say(f"the bucket did not take it: {type(error).__name__}: {str(error)[:300]}")
                is_refused, now = _is_refusal(error), time.monotonic()
                if now - self._began.setdefault(is_refused, now) >= self._limits[is_refused]:
                    raise
            pause(TRY_SECONDS)


class Secrets:
    """Secrets that are hidden in the log and in the words about the end."""

    def __init__(self, masks: Masks | None = None) -> None:
        self._masks = masks

    def hide(self, text: str) -> str:
        return "\n".join(map(self._masks.hide_as_read, text.split("\n"))) if self._masks else text

    def copy(self, path: str, to: str, *, is_over: bool) -> str:
        """Return the path of a copy without secrets; the path itself where there are none.

        A log that still grows gets its complete lines: half a secret is not known as one.
        """
        if self._masks is None:
            return path
        from cvl_ci.result.masked_lines import MaskedLines

        lines = MaskedLines(self._masks)
        with open(path, "rb") as file, open(to, "wb") as out:
            while piece := file.readline(LINE):
                end = b"\n" if piece.endswith(b"\n") else b""
                if not is_over and not end and len(piece) < LINE:
                    break
                text = piece[: len(piece) - len(end)].decode("utf-8", "surrogateescape")
                out.write(lines.hide(text).encode("utf-8", "surrogateescape") + end)
        return to


class JobResults:
    """The results of the job in STATE."""

    def __init__(self, place: S3Folder, state: str, deadline: str = DEADLINE, secrets: Secrets | None = None) -> None:
        self._place, self._state, self._deadline = place, state, deadline
        self._secrets = secrets or Secrets()
        self._own = os.path.join(state, "detached")
        self._stored: dict[str, tuple[int, int]] = {}
        try:  # this program starts slowly, next to a job that may take all processors
            self._began = os.stat(os.path.join(state, "job-began")).st_mtime
        except OSError:
            self._began = time.time()

    # ---- during the job ---------------------------------------------------------------------------------------

    def store_log(self) -> None:
        """Store the parts of the log that have changed. A failure changes nothing: the next time stores more."""
        for name, path in self._logs():
            with contextlib.suppress(Exception):  # boto3 makes its classes at run time
                now = os.stat(path)
                if self._stored.get(name) != (now.st_size, now.st_mtime_ns):
                    self._place.put_file(name, self._hidden_copy(name, path, is_over=False))
                    self._stored[name] = (now.st_size, now.st_mtime_ns)

    # ---- after it -----------------------------------------------------------------------------------------------

    def store(self) -> None:
        """Store everything, the manifest last. The machine's deadline bounds it. Raise the error of a refusal."""
        ended_at, patience = time.time(), Retries(refused=REFUSED_SECONDS)
        end, _ = self._run("end.sh", 60.0)
        announced, problem = self._run("collect.sh", PACK_SECONDS)
        problems, entries = [problem] if problem else [], []
        for name, path in [*self._logs(), *self._archives(announced)]:
            try:
                entries.append(patience(partial(self._upload, name, path)))
            except OSError as error:  # the others are stored without it
                problems.append(f"{name}: {type(error).__name__}")
        manifest = {
            "version": 1,
            "ended_at": ended_at,
            "end": self._secrets.hide(end),
            "problem": self._secrets.hide("; ".join(problems)),
            "files": entries,
        }
        patience(lambda: self._place.put(MANIFEST, json.dumps(manifest).encode()))

    def await_handover(self, pause: Callable[[float], None] = time.sleep) -> None:
        """Wait until the run has handed the machine over. An attached run fetches the files of a short job itself."""
        stop = min(time.time() + HANDOVER_SECONDS, self._end_at() - RESULTS_SECONDS)
        while self._handed_over_at() is None and time.time() < stop:
            pause(LOOK_SECONDS)

    def end_machine(self, pause: Callable[[float], None] = time.sleep) -> None:
        """End this machine, once the run's process had time for its last words after the handover."""
        handed_over = self._handed_over_at()
        if handed_over is not None:
            pause(max(0.0, handed_over + LINGER_SECONDS - time.time()))
        say("this machine ends now")
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

    def _end_at(self) -> float:
        """Return the moment at which root's timer ends this machine."""
        try:
            with open(self._deadline, encoding="ascii") as file:
                return float(file.read(32))
        except (OSError, ValueError):
            return math.inf

    def _hidden_copy(self, name: str, path: str, *, is_over: bool) -> str:
        copy = os.path.join(self._own, f"hidden-{name.replace('/', '-')}")
        return self._secrets.copy(path, copy, is_over=is_over)

    def _upload(self, name: str, path: str) -> dict[str, Any]:
        path = self._hidden_copy(name, path, is_over=True) if name in LOGS else path
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
        text = self._secrets.hide(process.stderr.decode("utf-8", "replace").strip())[-300:]
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


def _is_refusal(error: Exception) -> bool:
    """Return whether the same act will probably fail again: a refusal of S3, or a file that cannot be read."""
    is_of_file = isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError))
    return is_of_file or REFUSAL.search(str(error)) is not None


def until_over(results: JobResults, is_over: Callable[[], bool], pause: Callable[[float], None] = time.sleep) -> None:
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


def secrets_of(values: Sequence[str]) -> Secrets:
    """Return what hides these values, each password of an address in them, and all their usual encodings."""
    if not any(values):
        return Secrets()
    from cvl_ci.result.masks import Masks

    masks = Masks()
    masks.add(*values, *(password for value in values for password in PASSWORD.findall(value)))
    return Secrets(masks)


def is_open(place: S3Folder, address: str) -> bool:
    """Store a small object, and return whether the place took it."""
    patience = Retries(refused=REFUSED_AT_FIRST_SECONDS, silent=SILENT_AT_FIRST_SECONDS)
    try:
        patience(lambda: place.put(TRIED, b""))
    except Exception as error:  # noqa: BLE001  boto3 makes its classes at run time
        say(f"this machine cannot store results in {address}, which needs the right s3:PutObject: {str(error)[:300]}")
        return False
    return True


def main(verb: str, state: str, shell: str = "") -> None:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        say("a detached run needs boto3, which SkyPilot installs on AWS machines alone")
        sys.exit(1)
    request = json.loads(os.environ["CVL_CI_DETACHED"])
    config = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=5, read_timeout=30)
    client = boto3.client("s3", region_name=os.environ.get("AWS_REGION") or "us-east-1", config=config)
    place = S3Folder(client, request["bucket"], request["prefix"])
    if verb == "try":
        if request["hides"] and sys.version_info < PYTHON:
            say(f"this machine has Python {sys.version.split()[0]}, which cannot hide secrets in the stored log")
            sys.exit(1)
        if request.get("managed") and place.has(MANIFEST):
            say("an earlier machine of this job has stored its end, so the job does not run again")
            sys.exit(IS_OVER)
        sys.exit(0 if is_open(place, f"s3://{request['bucket']}/{request['prefix']}") else 1)
    is_managed = bool(request.get("managed"))
    own = os.path.join(state, "detached")
    with open(os.path.join(own, "pid"), "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    values = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0")
    results = JobResults(place, state, secrets=secrets_of(values))
    over = os.path.join(own, "over")
    until_over(results, lambda: os.path.exists(over) or not os.path.exists(f"/proc/{shell}"))
    if not is_managed:
        results.await_handover()
    try:
        results.store()
        say("the results are stored")
    except Exception as error:  # noqa: BLE001  a machine without a place for its results costs money for nothing
        say(f"the results could not be stored: {type(error).__name__}: {str(error)[:300]}")
    if is_managed:  # the job's shell waits for this, and the controller ends the machine after it
        with open(os.path.join(own, "finished"), "wb"):
            return
    results.end_machine()
