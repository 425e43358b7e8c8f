"""A job on a runner: its folders, and its steps as `docker run` with the very words that GitHub's runner uses.

Read in actions/runner, src/Runner.Worker: Handlers/ContainerActionHandler.cs and Container/DockerCommandManager.cs. A
value goes by the environment of the docker command, never on its line; main and post are two containers that share
the mounts and nothing else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.github.runner import read_file

RUNNER_UID = 1001
FILES = {"GITHUB_OUTPUT": "set_output", "GITHUB_STATE": "save_state", "GITHUB_STEP_SUMMARY": "step_summary"}
FILES |= {"GITHUB_ENV": "set_env", "GITHUB_PATH": "add_path"}
CANCEL = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 5.0))
"""What the docker command is sent, and how long it is then waited for. Its container is sent nothing else."""


class Step:
    """One container of a step, main or post: its name, its docker command, its file commands."""

    def __init__(self, name: str, process: subprocess.Popen[str], files: Mapping[str, Path]) -> None:
        self.name, self.process, self._files = name, process, files
        self._lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(process.stdout or ()), daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def until(self, word: str, within: float = 300.0) -> None:
        deadline = time.monotonic() + within
        while word not in self.output:
            assert self.process.poll() is None and time.monotonic() < deadline, f"no {word!r} in:\n{self.output}"
            time.sleep(0.02)

    def ended(self, within: float = 600.0) -> int:
        code = self.process.wait(within)
        self._reader.join()
        if self.process.stdout:
            self.process.stdout.close()
        return code

    def cancel(self) -> signal.Signals:
        """As the runner does it; the signal that the docker command ended upon."""
        for number, seconds in CANCEL:
            self.process.send_signal(number)
            try:
                self.ended(seconds)
            except subprocess.TimeoutExpired:
                continue
            return number
        raise AssertionError("the docker command outlived SIGKILL")

    def alive(self) -> bool:
        form = ("ps", "--quiet", "--filter", f"name={self.name}")
        return subprocess.run(["docker", *form], capture_output=True, check=True).stdout != b""

    def signal_all(self, name: str) -> None:
        """To every process but the first, as by the kernel: the docker command has no part in it."""
        subprocess.run(["docker", "exec", self.name, "bash", "-c", f"kill -{name} -1"], check=True, capture_output=True)

    def wrote(self, name: str) -> dict[str, str]:
        return read_file(self._files[name].read_text())

    @property
    def summary(self) -> str:
        return self._files["GITHUB_STEP_SUMMARY"].read_text()


@dataclass
class Job:
    """`folder`: the runner's. `given`: what the workflow says, as environment. The workspace is the runner's user's."""

    image: str
    folder: Path
    name: str = "ci"
    given: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        temporary = self.folder / "_temp"
        self.workspace = self.folder / self.name / self.name
        self.home, self._commands = temporary / "_github_home", temporary / "_runner_file_commands"
        self._mounts = {
            Path("/var/run/docker.sock"): "/var/run/docker.sock",
            self.home: "/github/home",
            temporary / "_github_workflow": "/github/workflow",
            self._commands: "/github/file_commands",
            self.workspace: "/github/workspace",
        }
        for each in list(self._mounts)[1:]:
            each.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(each, RUNNER_UID, RUNNER_UID)

    def main(self, **more: str) -> Step:
        return self._start("/entrypoint", more)

    def post(self, **more: str) -> Step:
        """What main saved as state is given to it, as GitHub does, when this is called after main."""
        saved = self.steps[-1].wrote("GITHUB_STATE") if self.steps else {}
        return self._start("/post-entrypoint", {**{f"STATE_{key}": value for key, value in saved.items()}, **more})

    def inside(self, program: str, *words: str, within: float = 120.0) -> str:
        """What any program of the image prints, in a container of this job's."""
        environ = self._environment({})
        command = self._docker_run(program, environ, name=self._container())
        done = subprocess.run(
            [*command, *words],
            env=self._for_docker(environ),
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _start(self, entrypoint: str, more: Mapping[str, str]) -> Step:
        key, name = uuid.uuid4(), self._container()
        files = {variable: self._commands / f"{word}_{key}" for variable, word in FILES.items()}
        for path in files.values():
            path.touch()
        environ = self._environment(
            {variable: f"/github/file_commands/{path.name}" for variable, path in files.items()}
        )
        environ |= more
        process = subprocess.Popen(
            self._docker_run(entrypoint, environ, name=name),
            env=self._for_docker(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.steps.append(Step(name, process, files))
        return self.steps[-1]

    def _docker_run(self, entrypoint: str, environ: Mapping[str, str], *, name: str) -> list[str]:
        words = ["docker", "run", "--name", name, "--label", "a1b2c3", "--workdir", "/github/workspace", "--rm"]
        words += [word for variable in environ for word in ("-e", variable)]
        words += ["-e", "GITHUB_ACTIONS=true", "-e", "CI=true", "--entrypoint", entrypoint]
        words += [word for here, there in self._mounts.items() for word in ("-v", f"{here}:{there}")]
        return [*words, self.image]

    def _environment(self, files: Mapping[str, str]) -> dict[str, str]:
        return {
            "HOME": "/github/home",
            "GITHUB_WORKSPACE": "/github/workspace",
            "GITHUB_REPOSITORY": "cvl/ci",
            "GITHUB_RUN_ID": str(int(self.name, 16)) if self.name != "ci" else "123456789",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_WORKFLOW": "GPU",
            "GITHUB_JOB": "train",
            "GITHUB_ACTION": "__cvl_skypilot-run",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_SHA": "0123456789abcdef0123456789abcdef01234567",
            "GITHUB_SERVER_URL": "https://github.example.com",
            "GITHUB_API_URL": "https://api.github.example.com",
            "RUNNER_OS": "Linux",
            "INPUT_LEG": "null",
            **files,
            **self.given,
        }

    def _for_docker(self, environ: Mapping[str, str]) -> dict[str, str]:
        ours = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        return {**environ, **ours}

    def _container(self) -> str:
        return f"{self.image.replace(':', '')}_{uuid.uuid4().hex[:6]}"
