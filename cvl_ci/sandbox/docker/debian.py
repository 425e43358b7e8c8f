"""The Debian of all machines: pulled from Docker Hub or, if that fails, built with debootstrap."""

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
from cvl_ci.sandbox.timer import Timer

PULLED = "debian:bookworm-slim"
BUILT = "cvl-ci-sandbox-debian:bookworm-slim"
"""A name of its own: an image of debootstrap is not an official image and must not pass as one."""
ADMINISTRATORS = ":/usr/sbin:/sbin"
"""The folders of administrators' programs, which are not on each user's PATH."""
NOT_NEEDED = (
    *("usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*"),
    *("var/cache/apt/*", "var/lib/apt/lists/*"),
)


def ensure(docker: Docker, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> str:
    """Return the name of a local Debian image, which this call pulls or builds if necessary."""
    if existing := _existing(docker):
        return existing
    with one_at_a_time("Debian image", say):
        return _existing(docker) or _pull_or_build(docker, workshop=workshop, environment=environment, say=say)


def _existing(docker: Docker) -> str | None:
    return next((name for name in (PULLED, BUILT) if docker.lines("image", "ls", "--quiet", name)), None)


def _pull_or_build(
    docker: Docker, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]
) -> str:
    say(f"  pulling {PULLED}")
    try:
        docker.run("pull", "--quiet", PULLED, timeout=600)
    except SandboxError as error:
        say(f"  it cannot be pulled ({getattr(error, 'output', error.what)})")
        say("  building one with debootstrap, in a minute or two")
    else:
        return PULLED
    _build(docker, workshop=workshop, environment=environment, say=say)
    return BUILT


def _build(docker: Docker, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    watch = Timer()
    path = f"{environment.get('PATH', os.defpath)}{ADMINISTRATORS}"
    program = shutil.which("debootstrap", path=path)
    if program is None:
        raise SandboxError(
            f"The sandbox needs {PULLED}. Docker cannot pull it, and debootstrap is not installed to build it.",
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
            changes = ("--change", 'CMD ["bash"]', "--change", f"LABEL {IMAGE_LABEL}={BUILT}")
            docker.feed("import", *changes, "-", BUILT, stdin=cast("IO[bytes]", packed.stdout))
    finally:
        subprocess.run([*become_root, "rm", "-rf", "--one-file-system", str(root)], check=False, capture_output=True)
    say(f"  {BUILT} built in {watch}")


def _become_root(environment: Mapping[str, str]) -> list[str]:
    if os.geteuid() == 0:
        return []
    try:
        allowed = subprocess.run(["sudo", "-n", "true"], env=dict(environment), capture_output=True, check=False)
    except FileNotFoundError:
        allowed = None
    if allowed is None or allowed.returncode:
        raise SandboxError(
            f"The sandbox needs {PULLED}. Docker cannot pull it, and only root may build it with debootstrap.",
            next_step="Give Docker access to a registry that has it, or start the sandbox once as root.",
        )
    return ["sudo", "-n"]


def _run(command: list[str], *, environment: Mapping[str, str], log: Path) -> None:
    with log.open("wb") as output:
        result = subprocess.run(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    if result.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise SandboxError(
            "debootstrap failed:\n" + "\n".join(f"  {line}" for line in last),
            next_step=f"Its whole output is in {log}. It needs a Debian package server.",
        )
