"""The Debian every machine is made of: pulled from Docker Hub, or, out of its reach, put together by debootstrap."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, cast

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.build_lock import one_at_a_time
from cvl_ci.sandbox.docker.engine import IMAGE_LABEL, Docker
from cvl_ci.sandbox.timer import Stopwatch

PULLED = "debian:bookworm-slim"
MADE = "cvl-ci-sandbox-debian:bookworm-slim"
"""A name of its own: what debootstrap makes is no official image and must not pass for one."""
ADMINISTRATORS = ":/usr/sbin:/sbin"
"""Their programs are not on every user's PATH."""
NOT_NEEDED = (
    *("usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*"),
    *("var/cache/apt/*", "var/lib/apt/lists/*"),
)


def ensure(docker: Docker, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> str:
    """The name of an image that is there afterwards."""
    if there := _there(docker):
        return there
    with one_at_a_time("Debian image", say):
        return _there(docker) or _get(docker, workshop=workshop, environment=environment, say=say)


def _there(docker: Docker) -> str | None:
    return next((name for name in (PULLED, MADE) if docker.lines("image", "ls", "--quiet", name)), None)


def _get(docker: Docker, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> str:
    say(f"  pulling {PULLED}")
    try:
        docker.run("pull", "--quiet", PULLED, timeout=600)
    except SandboxError as error:
        say(f"  it cannot be pulled ({getattr(error, 'said', error.what)})")
        say("  making one with debootstrap, in a minute or two")
    else:
        return PULLED
    _make(docker, workshop=workshop, environment=environment, say=say)
    return MADE


def _make(docker: Docker, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    watch = Stopwatch()
    path = f"{environment.get('PATH', os.defpath)}{ADMINISTRATORS}"
    program = shutil.which("debootstrap", path=path)
    if program is None:
        raise SandboxError(
            f"The sandbox needs {PULLED}. Docker cannot pull it, and there is no debootstrap to make it with.",
            next_step="Give Docker access to a registry that has it, or: sudo apt-get install debootstrap",
        )
    root = workshop / "root"
    become_root = _become_root({**environment, "PATH": path})
    try:
        _run([*become_root, program, "--variant=minbase", "--include=ca-certificates", "bookworm", str(root)],
             environment={**environment, "PATH": path}, log=workshop / "debootstrap.log")  # fmt: skip
        excluded = [f"--exclude=./{pattern}" for pattern in NOT_NEEDED]
        with subprocess.Popen(
            [*become_root, "tar", "-C", str(root), *excluded, "-c", "."],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        ) as packed:
            changes = ("--change", 'CMD ["bash"]', "--change", f"LABEL {IMAGE_LABEL}={MADE}")
            docker.feed("import", *changes, "-", MADE, stdin=cast("IO[bytes]", packed.stdout))
    finally:
        subprocess.run([*become_root, "rm", "-rf", "--one-file-system", str(root)], check=False, capture_output=True)
    say(f"  {MADE} made in {watch}")


def _become_root(environment: Mapping[str, str]) -> list[str]:
    if os.geteuid() == 0:
        return []
    try:
        allowed = subprocess.run(["sudo", "-n", "true"], env=dict(environment), capture_output=True, check=False)
    except FileNotFoundError:
        allowed = None
    if allowed is None or allowed.returncode:
        raise SandboxError(
            f"The sandbox needs {PULLED}. Docker cannot pull it, and only root may make it with debootstrap.",
            next_step="Give Docker access to a registry that has it, or bring the sandbox up once as root.",
        )
    return ["sudo", "-n"]


def _run(command: list[str], *, environment: Mapping[str, str], log: Path) -> None:
    with log.open("wb") as kept:
        done = subprocess.run(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=kept, stderr=kept, check=False
        )
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise SandboxError(
            "debootstrap failed:\n" + "\n".join(f"  {line}" for line in last),
            next_step=f"All it said is in {log}. It needs a Debian package server.",
        )
