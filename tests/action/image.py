"""The action's image as a release builds it, once for each content. Law: nothing here goes into a published image."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from cvl_ci.sandbox.docker import debian
from cvl_ci.sandbox.docker.build_lock import one_at_a_time
from cvl_ci.sandbox.docker.engine import Docker, DockerFailed

ROOT = Path(__file__).parents[2]
AUTHORITIES = Path("/usr/local/share/ca-certificates")
STAND_IN = Path(__file__).parent / "base"


def ensure(workshop: Path) -> str:
    """The image's name; it is there afterwards. `workshop`: a folder to build in."""
    docker = Docker(os.environ)
    with one_at_a_time("action's image", print):
        base = _base(docker, workshop)
        wanted = f"cvl-ci-action:{_digest(base, _context())}"
        if not _exists(docker, wanted):
            _build(docker, wanted, ROOT, workshop, BASE=base, CATALOGUE="none")
        return wanted


def _context() -> set[Path]:
    """What .dockerignore lets in, and what says how to build with it."""
    named = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    below = {path for name in named for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts}
    return {ROOT / "Dockerfile", ROOT / ".dockerignore", *(ROOT / name for name in named), *below}


def _base(docker: Docker, workshop: Path) -> str:
    """What the Dockerfile names, or, out of a registry's reach, a Debian of that release made here."""
    said = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert said is not None
    authorities = sorted(AUTHORITIES.glob("*.crt"))
    stand_in = f"cvl-ci-action-base:{_digest('', {*STAND_IN.iterdir(), *authorities})}"
    for name in (said[1], stand_in):
        if _exists(docker, name):
            return name
    try:
        docker.run("pull", "--quiet", said[1], timeout=600)
    except DockerFailed:
        origin = debian.ensure(docker, workshop=workshop, environment=os.environ, say=print)
        context = shutil.copytree(STAND_IN, workshop / "base", dirs_exist_ok=True)
        (context / "authorities").mkdir(exist_ok=True)
        (context / "authorities/.keep").touch()
        for path in authorities:
            shutil.copy(path, context / "authorities")
        _build(docker, stand_in, context, workshop, DEBIAN=origin)
        return stand_in
    return said[1]


def _exists(docker: Docker, name: str) -> bool:
    return bool(docker.lines("image", "ls", "--quiet", name))


def _build(docker: Docker, name: str, context: Path, workshop: Path, **arguments: str) -> None:
    words = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    log = workshop / "build.log"
    with docker.reading("build", "--tag", name, *words, str(context), errors=subprocess.STDOUT) as build:
        log.write_bytes(build.output.read())
        assert build.code() == 0, log.read_text(errors="replace")[-3000:]


def _digest(first: str, files: Iterable[Path]) -> str:
    digest = hashlib.sha256(first.encode())
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"\0{os.path.relpath(path, ROOT)}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
