"""Previews of pull requests on the emulated AWS: each closes, its event or its runner may be lost, and nothing stays.

    script/chaos previews --trials 10 --seed 1 --jobs 2

A trial is one pull request on a sandbox of its own. Its workflow steps, its reaper and its closing step are processes
without any common state. GitHub is a server on this host that holds the request's state. A trial fails where a machine
lives ten minutes after the close, or where an open preview did not answer.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from cvl_ci import wiring
from cvl_ci.sandbox import Sandbox
from tests.chaos.completed import answering, completed
from tests.e2e.cloud import environment
from tests.e2e.conftest import PROGRAM, Terminal
from tests.e2e.test_deploy import FILES, TOKEN, get
from tests.github.runner import read_file
from tests.support.field import plant
from tests.support.wheels import seed as seed_wheel

KINDS = ("the close event came", "the close event was lost", "and GitHub failed", "the runner was lost", "forgotten")
FORGOTTEN = KINDS[-1]
LATEST_SECONDS = 600.0
TTL_MINUTES = 10
REPOSITORY = "cvl/previews"
NUMBER = 5
STEP_SECONDS = 900


@dataclass
class PullRequest:
    """GitHub's word about one pull request. `failures`: how many of the next answers are errors of the server."""

    closed_at: float | None = None
    failures: int = 0
    lost_runs: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, object]:
        """Return status and body, in the shapes of GitHub's REST API."""
        if self.failures > 0:
            self.failures -= 1
            return 502, {"message": "Server Error"}
        if path == f"/repos/{REPOSITORY}/pulls/{NUMBER}":
            moment = self.closed_at and f"{datetime.fromtimestamp(self.closed_at, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
            return 200, {"state": "closed" if moment else "open", "closed_at": moment, "head": {"sha": "a" * 40}}
        if any(f"/actions/runs/{run}/" in path for run in self.lost_runs):
            return 200, completed()
        if "/actions/runs/" in path:
            return 200, {"status": "completed", "conclusion": "success", "updated_at": "2026-01-01T00:00:00Z"}
        return 404, {"message": "Not Found"}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One life of a pull request. `dice`: of this trial alone."""

    kind: str
    terminal: Terminal
    request: PullRequest
    api: str
    dice: random.Random

    def play(self) -> float:
        """Return the seconds from the close, or from the end of the ttl, until the provider showed nothing."""
        url = self._roll_out(100)
        self._assert_answers(url)
        self._sweep()
        self._assert_answers(url)
        if self.kind == KINDS[3]:
            self._lose_runner(101)
            self._sweep()
            self._assert_answers(url)
        if self.kind == FORGOTTEN:
            [machine] = self.terminal.sandbox.status().instances
            return self._seconds_until_gone(float(machine.tags["cvl-ci-deadline"]))
        self.request.closed_at = closed_at = time.time()
        if self.kind == KINDS[0]:
            self._step("/entrypoint", run=102, action="closed")
        if self.kind == KINDS[2]:
            self.request.failures = 10_000
            self._sweep()
            assert self.terminal.machines(), "no answer is not closed"
            self.request.failures = self.dice.randrange(3)
        while self.terminal.machines() and time.time() < closed_at + LATEST_SECONDS:
            self._sweep()
            time.sleep(5)
        return self._seconds_until_gone(closed_at)

    def _roll_out(self, run: int) -> str:
        outputs = self._step("/entrypoint", run=run, action="synchronize")
        self._step("/post-entrypoint", run=run, action="synchronize")
        return outputs["url"]

    def _lose_runner(self, run: int) -> None:
        """Kill the next rollout with all its processes at some moment after its first request for a machine."""
        process = self._start("/entrypoint", run=run, action="synchronize")
        before = set(self.terminal.machines())
        while process.poll() is None and set(self.terminal.machines()) == before:
            time.sleep(0.5)
        time.sleep(self.dice.uniform(0, 30))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.request.lost_runs.append(str(run))

    def _step(self, name: str, *, run: int, action: str) -> Mapping[str, str]:
        process = self._start(name, run=run, action=action)
        said, _ = process.communicate(timeout=STEP_SECONDS)
        assert process.returncode == 0, said
        return read_file((self._folder(run) / "outputs").read_text())

    def _start(self, name: str, *, run: int, action: str) -> subprocess.Popen[str]:
        folder = self._folder(run)
        folder.mkdir(exist_ok=True)
        names = {"GITHUB_OUTPUT": "outputs", "GITHUB_STATE": "state", "GITHUB_STEP_SUMMARY": "summary"}
        for file in names.values():
            (folder / file).touch()
        repository = {"repo": {"full_name": REPOSITORY}}
        pull_request = {"number": NUMBER, "head": {"sha": "a" * 40, **repository}, "base": repository}
        (folder / "event.json").write_text(json.dumps({"action": action, "pull_request": pull_request}))
        inputs = {"verb": "deploy", "example": "hello", "cloud": "sandbox", "leg": "null", "deploy_token": TOKEN}
        inputs |= {"ttl": f"{TTL_MINUTES if self.kind == FORGOTTEN else 40}m", "heartbeat_minutes": "2"}
        return subprocess.Popen(
            [sys.executable, "-I", "-m", "cvl_ci.action.main", name],
            env={
                **self.terminal.environment,
                "HOME": str(folder),
                **{variable: str(folder / file) for variable, file in names.items()},
                "GITHUB_REPOSITORY": REPOSITORY,
                "GITHUB_RUN_ID": str(run),
                "GITHUB_JOB": "preview",
                "GITHUB_ACTION": "__self",
                "GITHUB_API_URL": self.api,
                "GITHUB_EVENT_NAME": "pull_request",
                "GITHUB_EVENT_PATH": str(folder / "event.json"),
                "INPUT_GITHUB_TOKEN": "opens-nothing",
                **{f"INPUT_{key.upper()}": value for key, value in inputs.items()},
            },
            cwd=self.terminal.checkout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _sweep(self) -> None:
        """Reap from another place, which has no state of the runs."""
        elsewhere = self._folder(0)
        elsewhere.mkdir(exist_ok=True)
        around = {"HOME": str(elsewhere), "GITHUB_API_URL": self.api, "GITHUB_TOKEN": "opens-nothing"}
        around |= {"GITHUB_REPOSITORY": REPOSITORY}
        words = [str(PROGRAM), "reap", "--cloud", "sandbox", "--grace", "0"]
        done = subprocess.run(
            words,
            env={**self.terminal.environment, **around},
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stdout + done.stderr  # 1: it ended machines

    def _folder(self, run: int) -> Path:
        return self.terminal.home / f"run-{run}"

    def _assert_answers(self, url: str) -> None:
        assert get(f"{url}/health", f"Bearer {TOKEN}")[0] == 200, "an open preview does not answer"

    def _seconds_until_gone(self, since: float) -> float:
        while self.terminal.machines() and time.time() < since + LATEST_SECONDS:
            time.sleep(1)
        left = self.terminal.machines()
        assert not left, f"{left} lived ten minutes after their end"
        return max(0.0, time.time() - since)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/chaos previews", description=__doc__)
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="so many pull requests (default: 10)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of which series (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="so many at once (default: 2)")
    parsed = parser.parse_args()
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(parsed.trials):
        numbers.put(number)
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cvl-ci-previews-") as folder:
        work = [
            threading.Thread(target=_work, args=(numbers, parsed.seed, Path(folder), failed))
            for _ in range(parsed.jobs)
        ]
        for worker in work:
            worker.start()
        for worker in work:
            worker.join()
    print(f"{parsed.trials - len(failed)} of {parsed.trials} previews as they should be")
    return 1 if failed else 0


def _work(numbers: queue.SimpleQueue[int], seed: int, folder: Path, failed: list[str]) -> None:
    while True:
        try:
            number = numbers.get_nowait()
        except queue.Empty:
            return
        kind = KINDS[number % len(KINDS)]
        try:
            seconds = _play(kind, random.Random(1_000 * seed + number), folder / str(number), wheels=folder)
        except Exception as error:  # noqa: BLE001  one trial's fault does not hide the others
            failed.append(kind)
            print(f"{number}: {kind}: WRONG: {error}", flush=True)
        else:
            print(f"{number}: {kind}: gone {seconds:.0f} s after its end", flush=True)


def _play(kind: str, dice: random.Random, folder: Path, *, wheels: Path) -> float:
    directory = folder / "sandbox"
    seed_wheel(directory / "home", store=wheels)
    sandbox = Sandbox(
        directory, machine_types=wiring.machine_types(), environment=environment(), progress=lambda _: None
    )
    request = PullRequest()
    try:
        sandbox.up()
        checkout = plant(folder / "repository", FILES)
        terminal = Terminal(home=folder, directory=directory, sandbox=sandbox, checkout=checkout)
        with answering(request.answer) as api:
            return Trial(kind=kind, terminal=terminal, request=request, api=api, dice=dice).play()
    finally:
        sandbox.down()


if __name__ == "__main__":
    sys.exit(main())
