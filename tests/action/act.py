"""A workflow under act: the real `uses:` line, resolved to this checkout's action.yml with the image of these tests.

act differs from the runner where its own README says so and where it does not: post gets no STATE_ and no defaults of
inputs, HOME is of each container unless it is mounted, SIGINT removes a container without a word to it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("act")


@dataclass(frozen=True)
class Acted:
    """What act said, a JSON object a line, and what it ended with."""

    code: int
    text: str

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def said(self, stage: str, step: str = "") -> str:
        """What the containers of one stage (Main, Post) of our step printed, or of another by its id."""
        mine = [
            each["msg"]
            for each in self.lines
            if each.get("raw_output") and each.get("stage") == stage and each.get("stepID") == [step or "gpu"]
        ]
        return "".join(mine)

    def result(self, stage: str) -> str:
        """`success` or `failure`; empty where the stage was never run."""
        ends = [each for each in self.lines if each.get("stepResult") and each.get("stepID") == ["gpu"]]
        return next((str(each["stepResult"]) for each in ends if each.get("stage") == stage), "")


@dataclass
class Workflow:
    """One repository with one workflow of one job. `folder`: of ours alone."""

    image: str
    folder: Path
    options: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.name = f"train-{uuid.uuid4().hex[:8]}"  # act names its containers by it
        for each in (self.repository, self.home, self.folder / "act"):
            each.mkdir(parents=True, exist_ok=True)
        action = (ROOT / "action.yml").read_text()
        (self.folder / "action").mkdir(exist_ok=True)
        (self.folder / "action/action.yml").write_text(
            action.replace("image: Dockerfile", f"image: docker://{self.image}")
        )

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, given: Mapping[str, str], *, after: str = "", event: Mapping[str, Any] | None = None) -> None:
        """`given`: our step's `with:`. `after`: a step that runs whatever became of ours, with its id and outputs."""
        self._write(given, after)
        path = self.folder / "event.json"
        path.write_text(json.dumps(event or {}))
        words = [
            str(PROGRAM),
            "pull_request" if event else "push",
            "--json",
            "--pull=false",
            "--no-cache-server",
            "--bind",
            "--rm",
        ]
        words += [
            "-P",
            f"ubuntu-latest={self.image}",
            "-e",
            str(path),
            "--local-repository",
            f"cvl/skypilot-run@v1={self.folder}/action",
        ]
        words += [
            "--container-options",
            f"-v {self.home}:/github/home",
            "--env",
            "HOME=/github/home",
            "-s",
            "GITHUB_TOKEN=secret-token",
        ]
        words += [word for name, value in self.environment.items() for word in ("--env", f"{name}={value}")]
        self.process = subprocess.Popen(
            [*words, *self.options],
            cwd=self.repository,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder / "act"), **_docker()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def ended(self, within: float = 600.0) -> Acted:
        assert self.process is not None
        text, _ = self.process.communicate(timeout=within)
        return Acted(self.process.returncode, text)

    def run(self, given: Mapping[str, str], *, after: str = "", event: Mapping[str, Any] | None = None) -> Acted:
        self.start(given, after=after, event=event)
        return self.ended()

    def containers(self) -> list[str]:
        """Of our step, alive: act names them after the workflow."""
        names = subprocess.run(["docker", "ps", "--format", "{{.Names}}"], capture_output=True, text=True, check=True)
        return [name for name in names.stdout.split() if re.search(self.name, name) and "skypilot" in name.lower()]

    def _write(self, given: Mapping[str, str], after: str) -> None:
        inputs = "".join(f"          {name}: {json.dumps(value)}\n" for name, value in given.items())
        path = self.repository / ".github/workflows/gpu.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = f"name: {self.name}\non: [push, pull_request]\njobs:\n  train:\n    runs-on: ubuntu-latest\n    steps:\n"
        ours = f"      - id: gpu\n        uses: cvl/skypilot-run@v1\n        with:\n{inputs}"
        theirs = (
            f"      - id: after\n        if: always()\n        run: |\n{textwrap.indent(after, ' ' * 10)}\n"
            if after
            else ""
        )
        path.write_text(head + ours + theirs)
        for words in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=cvl", "-c", "user.email=c@example.com", "commit", "-qm", "all"],
        ):
            subprocess.run(["git", *words], cwd=self.repository, check=True, capture_output=True)


def _docker() -> dict[str, str]:
    return {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}
