"""Where a run of the schedule takes place: a sandbox of its own, a HOME, a task, and the program by both its doors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cvl_ci.clouds import service_clients
from cvl_ci.sandbox import Sandbox
from tests.chaos.family import Family
from tests.chaos.scenes import COLLECTING, DETACHING, OF_DETACHED_RUNS, QUEUED, RECOVERING, REUSED, Scene

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "cvl-ci"
REPOSITORY = "cvl/chaos"
BEGINS = {
    "provisioning": ("asking sandbox/", "asking sandbox/"),
    "setup": ("] setting up", "::group::Setting up"),
    "running": ("] running", "::group::Running"),
    RECOVERING: ("] replacing lost machines", "::group::Replacing lost machines"),
    DETACHING: ("] running", "::group::Running"),
    QUEUED: ("second: running", "second: running"),
    REUSED: ("] running", "::group::Running"),
    "fetching": ("] fetching what it wrote", "::group::Fetching what it wrote"),
    "releasing": ("] taking the machines down", "::group::Taking the machines down"),
}
"""How each phase is told in a terminal and in a step; of provisioning, once a machine is being asked for."""
LEASE = re.compile(r"lease (cvl-[a-z0-9-]+)")
LEAST_MONEY = "0.0112"
"""Dollars: at $0.096 an hour seven minutes; five are kept for the release, and the launch may have the rest."""
HEARTBEAT_MINUTES = 2
SHORT_LIFE = {"provision_timeout": "4m", "max_runtime": "3m"}
"""With five minutes for the release, twelve: a new machine has no heartbeat before SkyPilot has set it up."""
KEY = {"reuse": "chaos", "idle": "5m"}
REUSE_KEY = "c4a05e" * 8
RESULT, RESULT_BYTES = "result", 1000
"""What the job writes, and how much of it where it is not to take its time."""

STOP = """
found="$(pgrep -f '[c]vl-ci/timer|[s]kylet.skylet')"
kill -STOP $found
sleep 0.5
for each in $found; do sed 's/.*) //' "/proc/$each/stat" | cut -d' ' -f1; done
"""
"""On a machine: its timer and skylet, and the state of each afterwards. The pattern does not match its own words."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """`number`: of the workflow run on GitHub, different for each. The sandbox is up and empty."""

    folder: Path
    sandbox: Sandbox
    directory: Path
    number: int
    max_runtime: str = "10m"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def skypilot_home(self) -> Path:
        return self.directory / "home"

    def write_task(self, scene: Scene, *, delay: float) -> None:
        """A task that is quick everywhere but in the phase in which it will be killed, this many seconds later."""
        self.home.mkdir(parents=True)
        (self.folder / "workspace").mkdir()
        setup = 6 if scene.phase == "setup" else 0
        job = 8 + int(delay)
        run = {"running": job, RECOVERING: 120, DETACHING: 20, COLLECTING: 1, REUSED: job}.get(scene.phase, 0)
        bytes_ = 60_000_000 if scene.phase == "fetching" else RESULT_BYTES
        task = f"setup: |\n  sleep {setup}\nrun: |\n  head -c {bytes_} /dev/urandom > {RESULT}; sleep {run}\n"
        (self.folder / "workspace" / "task.yaml").write_text(task)
        second = {"id": "second", "command": f"sleep {job}", "machine": "one"}
        jobs = [{"id": "first", "command": f"head -c {RESULT_BYTES} /dev/urandom > {RESULT}", "machine": "one"}, second]
        (self.folder / "workspace" / "queue.yaml").write_text(json.dumps({"jobs": jobs}))
        for name in ("output", "state", "summary"):
            (self.folder / name).touch()
        if scene.phase in OF_DETACHED_RUNS:
            self._s3.create_bucket(Bucket=self._bucket)

    def main(self, scene: Scene, *, clock_seconds: float = 0.0, **more: str) -> Family:
        """`more`: further inputs. `clock_seconds`: by how much its clock is fast."""
        limits = {"max_runtime": self.max_runtime, **more}
        if scene.first == 3 or scene.phase in {DETACHING, REUSED}:
            heartbeat = {"heartbeat_minutes": str(HEARTBEAT_MINUTES)}
            limits |= {"max_cost": LEAST_MONEY} if scene.phase == "provisioning" else heartbeat
            limits |= SHORT_LIFE if scene.phase == RECOVERING else {}
        spot = {"spot": "true", "recover": "1"} if scene.phase == RECOVERING else {}
        asked = {"cloud": "sandbox", **spot, **limits, **_of_phase(scene)}
        if scene.door == "step":
            return self.step("entrypoint", **_inputs(asked), **_clock(clock_seconds))
        words = [word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", value)]
        if scene.phase == QUEUED:
            return self.program("queue", "queue.yaml", *words[: words.index("--verb")], **_clock(clock_seconds))
        if scene.phase in OF_DETACHED_RUNS:
            words += ["--detach", "--detach-to", f"s3://{self._bucket}/chaos"]
        return self.program("run", *words, **_clock(clock_seconds))

    def post(self, scene: Scene, lease: str, *, before: str = "", leg: str = "") -> Family:
        """The second line, as this door has it. `lease`: as main named it, which a step's post finds out itself.

        `before`: shell words that run before it, in a mount namespace of its own.
        """
        if scene.door == "step":
            inputs = _inputs({"cloud": "sandbox", "leg": leg, **_of_phase(scene)})
            return self.step("post-entrypoint", before=before, **inputs)
        return self.program("down", lease, before=before)

    def waiting_machine(self) -> Family:
        """A run of the same key in a terminal, whose machine waits after it for the run that is killed."""
        words = [word for name, value in KEY.items() for word in (f"--{name}", value)]
        limits = ("--max-runtime", self.max_runtime, "--heartbeat-minutes", str(HEARTBEAT_MINUTES))
        number = str(self.number + 50_000_000)
        return self.program("run", "--command", "true", "--cloud", "sandbox", *words, *limits, GITHUB_RUN_ID=number)

    def reap(self, *, api: str) -> Family:
        """From another place, which has no state of the run: GitHub says that it is over."""
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        words = ("reap", "--cloud", "sandbox", "--grace", "0")
        return self.program(*words, HOME=str(elsewhere), GITHUB_API_URL=api, GITHUB_TOKEN="opens-nothing")

    def collect(self, *names: str) -> Family:
        """By another process, which has the records of this HOME and nothing else."""
        return self.program("collect", *(names or ("all",)), "--outputs-dir", str(self.collected))

    @property
    def collected(self) -> Path:
        return self.folder / "collected"

    def has_results(self, lease: str) -> bool:
        """Whether the machine has stored all of them: its manifest comes last."""
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=f"chaos/{lease}/manifest.json")
        return bool(found.get("Contents"))

    @property
    def _bucket(self) -> str:
        return f"results-{self.number}"

    @cached_property
    def _s3(self) -> Any:
        access = self.sandbox.access()
        make = service_clients(
            access_key_id=access.access_key_id,
            secret_access_key=access.secret_access_key,
            endpoint_url=access.endpoint_url,
        )
        return make("s3", "us-east-1")

    def program(self, *words: str, before: str = "", **more: str) -> Family:
        return self._family([str(PROGRAM), *words], before, more)

    def step(self, phase: str, *, before: str = "", **more: str) -> Family:
        files = {
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "GITHUB_STATE": str(self.folder / "state"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
        }
        words = [sys.executable, "-m", "cvl_ci.action.main", phase]
        return self._family(words, before, {**files, **more})

    def take_spot_machines(self) -> None:
        """Take every running spot machine, without notice."""
        for machine in self.sandbox.status().instances:
            if machine.state == "running" and machine.spot:
                self.sandbox.interrupt(machine.id, notice_seconds=0.0)

    def blind(self) -> None:
        """Cut the third line: stop timer and skylet on every machine there is, and see that they are stopped."""
        mine = ("ps", "--quiet", "--filter", f"label=cvl-ci-sandbox={self.sandbox.status().id}")
        for machine in _docker(*mine, "--filter", "label=cvl-ci-sandbox-instance").split():
            states = _docker("exec", "--user", "root", machine, "sh", "-c", STOP).split()
            if not states or set(states) != {"T"}:
                raise RuntimeError(f"The third line of {machine} could not be cut: {states}")

    def _family(self, words: list[str], before: str, more: Mapping[str, str]) -> Family:
        if before:
            words = ["unshare", "--mount", "sh", "-ec", f'{before}\nexec "$@"', "sh", *words]
            more = {**more, "SKYPILOT": str(self.skypilot_home)}
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        log.touch()
        return Family(words, environment=self._environment(more), folder=self.folder / "workspace", log=log)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "DOCKER_HOST") if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "HOME": str(self.home),
            "CVL_CI_SANDBOX_DIR": str(self.directory),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": str(self.number),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "train",
            "GITHUB_ACTION": "__self",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_WORKSPACE": str(self.folder / "workspace"),
            "CVL_CI_REUSE_KEY": REUSE_KEY,
            **more,
        }


def begins(scene: Scene, line: str, *, phase: str = "") -> bool:
    """Whether this line says that the scene's phase has begun, or `phase`."""
    terminal, step = BEGINS[phase or scene.phase]
    wanted = step if scene.door == "step" else terminal
    return wanted in line


def lease_in(lines: list[str]) -> str:
    """The name that main gave its lease; empty while it has said none."""
    return next((found[1] for line in lines if (found := LEASE.search(line))), "")


def _of_phase(scene: Scene) -> dict[str, str]:
    """What main and post of a step are given about the work."""
    if scene.phase == QUEUED:
        return {"verb": "queue", "queue": "queue.yaml"}
    of_key = {**KEY, "reuse_key": REUSE_KEY} if scene.door == "step" else KEY
    return {"task": "task.yaml", **(of_key if scene.phase == REUSED else {})}


def _inputs(asked: Mapping[str, str]) -> dict[str, str]:
    return {f"INPUT_{name.upper()}": value for name, value in asked.items()}


def _clock(seconds: float) -> dict[str, str]:
    if not seconds:
        return {}
    path = os.pathsep.join([str(Path(__file__).parent / "clock"), str(ROOT)])
    return {"PYTHONPATH": path, "CHAOS_CLOCK_SECONDS": str(seconds)}


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout
