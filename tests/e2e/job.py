"""A job on a GitHub runner: a container for each phase of a step, on a network of the job's own, as the runner has it.

What is tested is this checkout and not an image of it: the containers see the programs and the Python of this computer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cvl_ci.sandbox import sandbox_spec
from cvl_ci.wiring import sandbox_directory
from tests.e2e.cloud import docker

ROOT = Path(__file__).parents[2]
MOUNTS = {"home": "/github/home", "workspace": "/github/workspace", "file_commands": "/github/file_commands"}
SOCKET = "/var/run/docker.sock"
HOME = {"HOME": "/github/home"}
ENVIRONMENT = {
    **HOME,
    "GITHUB_ACTIONS": "true",
    "CI": "true",
    "GITHUB_WORKSPACE": "/github/workspace",
    "GITHUB_REPOSITORY": "cvl/ci",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "train",
    "GITHUB_ACTION": "__self",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_OUTPUT": "/github/file_commands/output",
    "GITHUB_STATE": "/github/file_commands/state",
    "GITHUB_STEP_SUMMARY": "/github/file_commands/summary",
    "INPUT_CLOUD": "sandbox",
    "INPUT_GPU": "none",
}


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    said: str


@dataclass
class Job:
    """`image`: any with a root directory; most of it is hidden behind this computer's /usr."""

    folder: Path
    network: str
    image: str
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in MOUNTS:
            (self.folder / name).mkdir()
        # Two tests at once with one run id would share the name of their lease, and one would end both machines.
        self.environment = {**ENVIRONMENT, "GITHUB_RUN_ID": str(uuid.uuid4().int % 10**9)}

    @property
    def sandbox(self) -> Path:
        """Where this computer has what the containers take for their sandbox's directory."""
        return self.folder / "home" / Path(self.sandbox_inside).relative_to(HOME["HOME"])

    @property
    def sandbox_inside(self) -> str:
        return str(sandbox_directory(HOME))

    @property
    def id(self) -> str:
        return sandbox_spec.identity(self.sandbox)

    def phase(self, name: str, *, command: str, kill_when: Callable[[str], bool] | None = None) -> Ended:
        words = (sys.executable, "-I", "-m", "cvl_ci.action.main", name)
        return self.container(*words, kill_when=kill_when, inputs={"INPUT_COMMAND": command})

    def container(
        self, *command: str, kill_when: Callable[[str], bool] | None = None, inputs: Mapping[str, str] | None = None
    ) -> Ended:
        """`kill_when`: asked with each line; when it says yes, the container is killed on the spot."""
        name = f"{self.network}-{len(self.names)}"
        self.names.append(name)
        options = self._options({**self.environment, **(inputs or {})})
        words = ("docker", "run", "--rm", "--name", name, *options, self.image)
        with subprocess.Popen(
            [*words, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            said = []
            for line in process.stdout or ():
                said.append(line)
                if kill_when is not None and kill_when(line):
                    docker("kill", "--signal", "KILL", name)
                    kill_when = None
        return Ended(code=process.returncode, said="".join(said))

    def clear(self) -> None:
        """What containers wrote is root's; whoever runs the tests need not be."""
        for name in self.names:
            subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
        owner = f"{self.folder.stat().st_uid}:{self.folder.stat().st_gid}"
        docker(
            "run", "--rm", "--volume", f"{self.folder}:{self.folder}", "--entrypoint", "chown", self.image,
            "--recursive", owner, str(self.folder),
        )  # fmt: skip

    def _options(self, environment: Mapping[str, str]) -> list[str]:
        seen = {"/usr", *(path for path in (sys.base_prefix, sys.prefix, str(ROOT)) if not path.startswith("/usr/"))}
        shared = [f"{self.folder / name}:{place}" for name, place in MOUNTS.items()]
        volumes = [*(f"{path}:{path}:ro" for path in sorted(seen)), *shared, f"{SOCKET}:{SOCKET}"]
        path = f"{Path(str(shutil.which('docker'))).parent}:/usr/local/bin:/usr/bin:/bin"
        return [
            *(word for each in volumes for word in ("--volume", each)),
            *(word for key, value in {**environment, "PATH": path}.items() for word in ("--env", f"{key}={value}")),
            *("--network", self.network, "--workdir", "/github/workspace", "--entrypoint", ""),
        ]
