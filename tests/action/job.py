"""A job on a runner: its folders, and its steps as `docker run` with the very words that GitHub's runner uses.

Read in actions/runner, src/Runner.Worker: Handlers/ContainerActionHandler.cs and Container/DockerCommandManager.cs. A
value goes by the environment of the docker command, never on its line; main and post are two containers that share
the mounts and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.github.runner import read_file

RUNNER_UID = 1001
FILES = {"GITHUB_OUTPUT": "set_output", "GITHUB_STATE": "save_state", "GITHUB_STEP_SUMMARY": "step_summary"}
FILES |= {"GITHUB_ENV": "set_env", "GITHUB_PATH": "add_path"}


@dataclass
class Step:
    """One container of a step, main or post: its name, its docker command, its file commands."""

    name: str
    process: subprocess.Popen[str]
    files: Mapping[str, Path]

    def ended(self, within: float = 600.0) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=within)
        return self.process.returncode, said

    def wrote(self, name: str) -> dict[str, str]:
        return read_file(self.files[name].read_text())

    @property
    def summary(self) -> str:
        return self.files["GITHUB_STEP_SUMMARY"].read_text()


@dataclass
class Job:
    """`given`: what the workflow says, as environment. The workspace is the runner's user's, as it is there."""

    image: str
    folder: Path
    given: dict[str, str] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in (self.workspace, self.home, self.folder / "_temp/_github_workflow", self._files):
            each.mkdir(parents=True, exist_ok=True)
            os.chown(each, RUNNER_UID, RUNNER_UID)

    @property
    def workspace(self) -> Path:
        return self.folder / "ci/ci"

    @property
    def home(self) -> Path:
        return self.folder / "_temp/_github_home"

    @property
    def _files(self) -> Path:
        return self.folder / "_temp/_runner_file_commands"

    def main(self, **more: str) -> Step:
        return self._start("/entrypoint", more)

    def post(self, **more: str) -> Step:
        return self._start("/post-entrypoint", {**{f"STATE_{key}": value for key, value in self.state.items()}, **more})

    def command(
        self, entrypoint: str, environ: Mapping[str, str], *, name: str = "", rest: tuple[str, ...] = ()
    ) -> list[str]:
        mounts = {
            Path("/var/run/docker.sock"): "/var/run/docker.sock",
            self.home: "/github/home",
            self.folder / "_temp/_github_workflow": "/github/workflow",
            self._files: "/github/file_commands",
            self.workspace: "/github/workspace",
        }
        words = [
            "docker",
            "run",
            "--name",
            name or self._container(),
            "--label",
            "a1b2c3",
            "--workdir",
            "/github/workspace",
            "--rm",
        ]
        words += [word for variable in environ for word in ("-e", variable)]
        words += ["-e", "GITHUB_ACTIONS=true", "-e", "CI=true", "--entrypoint", entrypoint]
        words += [word for here, there in mounts.items() for word in ("-v", f"{here}:{there}")]
        return [*words, self.image, *rest]

    def environment(self, **more: str) -> dict[str, str]:
        """What the step's container is given, beside the file commands."""
        return {
            "HOME": "/github/home",
            "GITHUB_WORKSPACE": "/github/workspace",
            "GITHUB_REPOSITORY": "cvl/ci",
            "GITHUB_RUN_ID": "123456789",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "train",
            "GITHUB_ACTION": "__cvl_skypilot-run",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_SHA": "0123456789abcdef0123456789abcdef01234567",
            "GITHUB_SERVER_URL": "https://github.example.com",
            "GITHUB_API_URL": "https://api.github.example.com",
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": "/github/runner_temp",
            **self.given,
            **more,
        }

    def _start(self, entrypoint: str, more: Mapping[str, str]) -> Step:
        key = uuid.uuid4()
        files = {variable: self._files / f"{word}_{key}" for variable, word in FILES.items()}
        for path in files.values():
            path.touch()
        inside = {variable: f"/github/file_commands/{path.name}" for variable, path in files.items()}
        environ, name = self.environment(**inside, **more), self._container()
        process = subprocess.Popen(
            self.command(entrypoint, environ, name=name),
            env={
                "PATH": os.environ["PATH"],
                **{key: value for key, value in environ.items() if key not in {"PATH", "HOME"}},
                "HOME": environ["HOME"],
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        return Step(name=name, process=process, files=files)

    def _container(self) -> str:
        return f"{self.image.replace(':', '')}_{uuid.uuid4().hex[:6]}"
