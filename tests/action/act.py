"""A workflow under act: the real `uses:` line, resolved to this checkout's action.yml with the image of these tests.

act differs from the runner: post gets no STATE_ and no defaults of inputs, HOME is each container's own unless it is
mounted, a step's container shares the network of the job's, SIGINT removes it without a word to it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("act")
OURS = "gpu"
"""The id of the step that uses the action."""


@dataclass(frozen=True)
class Acted:
    """What act said, a JSON object a line, and what it ended with."""

    code: int
    text: str

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def output(self, stage: str, step: str = OURS) -> str:
        """What the container of one stage of a step, Main or Post, printed."""
        return "".join(each["msg"] for each in self._of(stage, step) if each.get("raw_output"))

    @property
    def summaries(self) -> list[str]:
        """What steps wrote into their job summaries, in their order."""
        return [str(each["content"]) for each in self.lines if each.get("command") == "summary"]

    def result(self, stage: str) -> str:
        """Of our step, success or failure; empty where the stage was not run."""
        return next((str(each["stepResult"]) for each in self._of(stage, OURS) if "stepResult" in each), "")

    def _of(self, stage: str, step: str) -> list[dict[str, Any]]:
        return [each for each in self.lines if each.get("stage") == stage and each.get("stepID") == [step]]


@dataclass
class ActWorkflow:
    """A repository with one workflow of one job. `folder`: its alone; `home`: what all its containers have as HOME."""

    image: str
    folder: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        number = uuid.uuid4().hex[:8]
        self.name = f"train-{number}"  # act names its containers by it
        # act calls each run 1, so the lease of two tests at once would have one name, and one would end both machines.
        self.run_id = str(int(number, 16))
        self.repository, self.artifacts = self.folder / "repository", self.folder / "artifacts"
        for each in (self.repository / ".github/workflows", self.artifacts, self.folder / "action", self.home):
            each.mkdir(parents=True, exist_ok=True)
        ours = (ROOT / "action.yml").read_text().replace("image: Dockerfile", f"image: docker://{self.image}")
        (self.folder / "action/action.yml").write_text(ours)

    def run(self, given: Mapping[str, str], *, after: str = "", event: Mapping[str, Any] | None = None) -> Acted:
        self.start(given, after=after, event=event)
        return self.ended()

    def start(self, given: Mapping[str, str], *, after: str = "", event: Mapping[str, Any] | None = None) -> None:
        """`given`: our step's `with:`. `after`: what a last step runs whatever became of ours, which has the id gpu."""
        self._write(given, after)
        self.launch("pull_request" if event else "push", event or {})

    def launch(self, name: str, event: Mapping[str, Any], *more: str) -> None:
        """`name`: of the event. `more`: options of act's."""
        (self.folder / "event.json").write_text(json.dumps(event))
        ours = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        self._process = subprocess.Popen(
            [str(PROGRAM), name, *self._options(), *more],
            cwd=self.repository,
            env={**ours, "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def ended(self, within: float = 600.0) -> Acted:
        assert self._process is not None
        text, _ = self._process.communicate(timeout=within)
        return Acted(self._process.returncode, text)

    def stop(self) -> None:
        """Of a test that failed half-way: its containers go as well."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self.ended(60.0)

    def container(self, entrypoint: str, within: float = 60.0) -> str:
        """The one of our step that was started with this, as soon as it runs."""
        form = ("--no-trunc", "--format", "{{.Names}} {{.Command}}", "--filter", f"name={self.name}")
        deadline = time.monotonic() + within
        while True:
            found = subprocess.run(["docker", "ps", *form], capture_output=True, text=True, check=True).stdout
            for line in found.splitlines():
                if f'"{entrypoint}' in line:
                    return line.split()[0]
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    def _options(self) -> list[str]:
        words = ["--json", "--rm", "--bind", "--pull=false", "--no-cache-server"]
        for runner in ("ubuntu-latest", "ubuntu-24.04"):
            words += ["--platform", f"{runner}={self.image}"]
        words += [
            "--local-repository",
            f"cvl/skypilot-run@v1={self.folder}/action",
            "--eventpath",
            f"{self.folder}/event.json",
        ]
        words += ["--artifact-server-path", str(self.artifacts), "--artifact-server-addr", "127.0.0.1"]
        words += ["--artifact-server-port", str(_free_port()), "--secret", "GITHUB_TOKEN=secret-token"]
        words += ["--container-options", f"-v {self.home}:/github/home", "--env", "HOME=/github/home"]
        environment = {"GITHUB_RUN_ID": self.run_id, **self.environment}
        return words + [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]

    def _write(self, given: Mapping[str, str], after: str) -> None:
        inputs = "".join(f"          {name}: {json.dumps(value)}\n" for name, value in given.items())
        head = f"name: {self.name}\non: [push, pull_request]\njobs:\n  train:\n    runs-on: ubuntu-latest\n    steps:\n"
        ours = f"      - id: {OURS}\n        uses: cvl/skypilot-run@v1\n        with:\n{inputs}"
        last = f"      - id: after\n        if: always()\n        run: |\n{textwrap.indent(after, ' ' * 10)}\n"
        (self.repository / ".github/workflows/gpu.yml").write_text(head + ours + (last if after else ""))
        self.committed()

    def committed(self) -> str:
        """All that lies in the repository, on its branch main: the commit."""
        if not (self.repository / ".git").exists():
            self._git("init", "--quiet", "--initial-branch", "main")
            self._git("remote", "add", "origin", "https://github.com/cvl/ci")
        self._git("add", "--all")
        self._git("-c", "user.name=cvl", "-c", "user.email=cvl@example.com", "commit", "--quiet", "--message", "all")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.repository, check=True, capture_output=True, text=True).stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
