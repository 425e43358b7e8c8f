"""The docker command, as far as the sandbox needs it: every failure says what to do next.

The command and not its SDK: it costs no import, finds the engine wherever the user's own docker does, and is there
on every runner.
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
"""On every container, network and volume, with the sandbox's id as its value."""
NAME_LABEL = f"{LABEL}-name"
"""On a machine: the name that whoever launched it gave it."""
IMAGE_LABEL = "cvl-ci-sandbox-image"


class DockerFailed(SandboxError):
    """One docker command failed; `said` is the last of what it said."""

    def __init__(self, arguments: Sequence[str], said: str) -> None:
        self.said = said
        super().__init__(f"docker {' '.join(arguments[:2])} failed: {said}", next_step="See `docker info`.")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a running command prints; and, awaiting its end, its exit code."""

    output: IO[bytes]
    code: Callable[[], int]

    def lines(self) -> Iterator[str]:
        return (line.decode("utf-8", "replace") for line in self.output)


class Docker:
    """`environment` is passed on: PATH, and DOCKER_HOST or a HOME with a docker context."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # The classic builder is in every engine and needs no plug-in; BuildKit's is a separate install.
        self._environment = {**environment, "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"}

    def run(self, *arguments: str, timeout: float = 120.0) -> str:
        """What it printed on stdout, stripped."""
        try:
            done = subprocess.run(
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
        if done.returncode:
            raise _explained(arguments, done.stderr.strip())
        return done.stdout.strip()

    def lines(self, *arguments: str) -> list[str]:
        return self.run(*arguments).splitlines()

    @contextmanager
    def reading(self, *arguments: str, errors: int = subprocess.DEVNULL) -> Iterator[Reading]:
        """A command whose output is read while it runs. It outlives neither the block nor, if that can be had, us."""
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
            yield Reading(output=cast("IO[bytes]", process.stdout), code=process.wait)
        finally:
            process.kill()
            with process:  # closes its pipe and awaits it
                pass

    def feed(self, *arguments: str, stdin: IO[bytes] | int) -> str:
        done = subprocess.run(
            ["docker", *arguments], stdin=stdin, capture_output=True, text=True, env=self._environment, check=False
        )
        if done.returncode:
            raise _explained(arguments, done.stderr.strip())
        return done.stdout.strip()

    def check(self) -> None:
        """An engine that answers and can carry a sandbox, or an error that says what to do."""
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
                "The containers of this Docker Engine are out of reach from here (Docker Desktop, or rootless mode).",
                next_step="Use a Docker Engine that runs as root on this machine, for example: "
                "docker context use default, or DOCKER_HOST=unix:///var/run/docker.sock.",
            )

    def remove_all(self, identity: str, say: Callable[[str], None], *, only: str | None = None) -> tuple[str, ...]:
        """Every container and volume of one sandbox, whoever started it. The containers' names.

        `only`: containers that have this label too."""
        mine = f"label={LABEL}={identity}"
        further = ("--filter", f"label={only}") if only else ()
        names = self.lines("ps", "--all", "--filter", mine, *further, "--format", "{{.Names}}")
        if names:
            say(f"removing {len(names)} container{'s' if len(names) > 1 else ''}: {', '.join(names)}")
            self._remove("rm", "--force", "--volumes", *names)
        volumes = self.lines("volume", "ls", "--quiet", "--filter", mine)
        if volumes:
            self._remove("volume", "rm", "--force", *volumes)
        return tuple(names)

    def _remove(self, *arguments: str) -> None:
        """Gone in the meantime is gone."""
        try:
            self.run(*arguments)
        except DockerFailed as error:
            if "no such" not in error.said.lower() and "already in progress" not in error.said.lower():
                raise


def _not_installed() -> SandboxError:
    return SandboxError(
        "There is no `docker` command here, and the sandbox's machines are Docker containers.",
        next_step="Install a Docker Engine (Debian, Ubuntu: sudo apt-get install docker.io), then try again.",
    )


def _explained(arguments: Sequence[str], said: str) -> SandboxError:
    lowered = said.lower()
    if "permission denied" in lowered and "docker" in lowered and "sock" in lowered:
        return SandboxError(
            "Docker is running, but this user may not talk to it.",
            next_step='Join its group (sudo usermod -aG docker "$USER"), log in again, then try again.',
        )
    if "cannot connect to the docker daemon" in lowered or "failed to connect to the docker api" in lowered:
        return SandboxError(
            "The Docker Engine is not running.",
            next_step="Start it (sudo systemctl start docker, or sudo dockerd &), then try again. To a container, give "
            "its socket: --volume /var/run/docker.sock:/var/run/docker.sock.",
        )
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("Run 'docker", "See 'docker"))]
    return DockerFailed(arguments, lines[-1] if lines else "it said nothing")
