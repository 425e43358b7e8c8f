"""The docker command, as far as the sandbox needs it: each failure names the next step.

The command and not its SDK: it costs no import, uses the same engine as the user's own docker, and every runner has
it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

from cvl_ci.errors import SandboxError

LABEL = "cvl-ci-sandbox"
"""The label on each container, network and volume. Its value is the sandbox's id."""
NAME_LABEL = f"{LABEL}-name"
"""A machine's label with the name from its launch request."""
IMAGE_LABEL = "cvl-ci-sandbox-image"


class DockerFailed(SandboxError):
    """A docker command failed. `output` is the last line that it printed."""

    def __init__(self, arguments: Sequence[str], output: str) -> None:
        self.output = output
        super().__init__(f"docker {' '.join(arguments[:2])} failed: {output}", next_step="See `docker info`.")


@dataclass(frozen=True, kw_only=True)
class CommandOutput:
    """The output of a running command, and its exit code, for which `code` waits."""

    output: IO[bytes]
    code: Callable[[], int]

    def lines(self) -> Iterator[str]:
        return (line.decode("utf-8", "replace") for line in self.output)


class Docker:
    """The docker command. It receives `environment`: PATH, and DOCKER_HOST or a HOME with a docker context."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # Each engine has the classic builder and needs no plug-in for it; BuildKit's builder is a separate install.
        self._environment = {**environment, "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"}

    def run(self, *arguments: str, timeout: float = 120.0) -> str:
        """Run a command and return its stdout, stripped. Raises DockerFailed or another SandboxError."""
        try:
            result = subprocess.run(
                ["docker", *arguments],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                env=self._environment,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            raise _not_installed() from None
        except subprocess.TimeoutExpired:
            raise DockerFailed(arguments, f"no answer within {timeout:.0f} s") from None
        if result.returncode:
            raise _explained(arguments, result.stderr.strip())
        return result.stdout.strip()

    def lines(self, *arguments: str) -> list[str]:
        return self.run(*arguments).splitlines()

    @contextmanager
    def reading(self, *arguments: str, errors: int = subprocess.DEVNULL) -> Iterator[CommandOutput]:
        """Run a command and read its output meanwhile.

        It ends with the block, and with this process where setpriv exists.
        """
        guard = shutil.which("setpriv", path=self._environment.get("PATH"))
        try:
            process = subprocess.Popen(
                [*((guard, "--pdeathsig", "KILL") if guard else ()), "docker", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment,
            )
        except FileNotFoundError:
            raise _not_installed() from None
        try:
            yield CommandOutput(output=cast("IO[bytes]", process.stdout), code=process.wait)
        finally:
            process.kill()
            with process:  # closes its pipe and waits for it
                pass

    def feed(self, *arguments: str, stdin: IO[bytes] | int) -> str:
        result = subprocess.run(
            ["docker", *arguments], stdin=stdin, capture_output=True, text=True, env=self._environment, check=False
        )
        if result.returncode:
            raise _explained(arguments, result.stderr.strip())
        return result.stdout.strip()

    def check(self) -> None:
        """Check that the engine answers and can carry a sandbox. Raises SandboxError with the next step."""
        if sys.platform != "linux":
            raise SandboxError(
                f"The sandbox needs Linux, and this is {sys.platform}: its machines are containers with addresses.",
                next_step="Use a Linux machine, a virtual machine, or a GitHub runner (runs-on: ubuntu-latest).",
            )
        info = json.loads(self.run("info", "--format", "{{json .}}", timeout=30))
        if info.get("ServerErrors"):
            raise _explained(("info",), " ".join(info["ServerErrors"]))
        if "Docker Desktop" in str(info.get("OperatingSystem")) or any(
            "rootless" in option for option in info.get("SecurityOptions") or []
        ):
            raise SandboxError(
                "This process cannot reach the containers of this Docker Engine (Docker Desktop, or rootless mode).",
                next_step="Use a Docker Engine that runs as root on this computer, with "
                "`docker context use default`, or DOCKER_HOST=unix:///var/run/docker.sock.",
            )

    def remove_all(self, identity: str, say: Callable[[str], None], *, only: str | None = None) -> tuple[str, ...]:
        """Remove all containers and volumes of one sandbox, and return the names of the containers.

        `only`: remove just the containers that have this label too.
        """
        own_label = f"label={LABEL}={identity}"
        further = ("--filter", f"label={only}") if only else ()
        names = self.lines("ps", "--all", "--filter", own_label, *further, "--format", "{{.Names}}")
        if names:
            say(f"removing {len(names)} container{'s' if len(names) > 1 else ''}: {', '.join(names)}")
            self._remove("rm", "--force", "--volumes", *names)
        volumes = self.lines("volume", "ls", "--quiet", "--filter", own_label)
        if volumes:
            self._remove("volume", "rm", "--force", *volumes)
        return tuple(names)

    def _remove(self, *arguments: str) -> None:
        """Remove something. It is a success if it has disappeared meanwhile."""
        try:
            self.run(*arguments)
        except DockerFailed as error:
            if "no such" not in error.output.lower() and "already in progress" not in error.output.lower():
                raise


def _not_installed() -> SandboxError:
    return SandboxError(
        "There is no `docker` command, and the sandbox's machines are Docker containers.",
        next_step="Install a Docker Engine (Debian, Ubuntu: sudo apt-get install docker.io), then try again.",
    )


def _explained(arguments: Sequence[str], output: str) -> SandboxError:
    lowered = output.lower()
    if "permission denied" in lowered and "docker" in lowered and "sock" in lowered:
        return SandboxError(
            "Docker runs, but this user may not use it.",
            next_step='Join its group (sudo usermod -aG docker "$USER"), log in again, then try again.',
        )
    if "cannot connect to the docker daemon" in lowered or "failed to connect to the docker api" in lowered:
        return SandboxError(
            "The Docker Engine is not running.",
            next_step="Start it (sudo systemctl start docker, or sudo dockerd &), then try again. A container needs "
            "its socket: --volume /var/run/docker.sock:/var/run/docker.sock.",
        )
    lines = [
        line for line in output.splitlines() if line.strip() and not line.startswith(("Run 'docker", "See 'docker"))
    ]
    return DockerFailed(arguments, lines[-1] if lines else "it printed nothing")
