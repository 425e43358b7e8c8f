"""The machine image: built on first use from machine/, named by a hash of what goes in, kept until removed by hand."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker import debian
from cvl_ci.sandbox.docker.build_lock import one_at_a_time
from cvl_ci.sandbox.docker.engine import IMAGE_LABEL, Docker
from cvl_ci.sandbox.timer import Stopwatch

PARTS = Path(__file__).parents[1] / "machine"
AUTHORITIES = Path("/usr/local/share/ca-certificates")
ARGUMENTS = {
    "UV_VERSION": "0.13.9",
    "PYTHON_PACKAGES": "numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2",
}
NAME = "cvl-ci-sandbox"
STEPS = {
    "RUN apt-get": "Debian's packages",
    "RUN pip install": "Python packages for jobs",
    "RUN export UV": "SkyPilot's runtime",
    "COPY debian": "putting it together",
}
"""What of the Dockerfile takes long, by the words of its lines."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that goes into the image: equal recipes, equal image."""

    parts: Mapping[str, bytes]
    authorities: Mapping[str, bytes]
    arguments: Mapping[str, str]

    @property
    def tag(self) -> str:
        digest = hashlib.sha256()
        for group in (self.parts, self.authorities, {key: value.encode() for key, value in self.arguments.items()}):
            for name in sorted(group):
                digest.update(f"{name}\0{len(group[name])}\0".encode() + group[name])
        return f"{NAME}:{digest.hexdigest()[:12]}"


def recipe(parts: Path = PARTS, authorities: Path = AUTHORITIES) -> Recipe:
    return Recipe(
        parts={path.name: path.read_bytes() for path in sorted(parts.iterdir()) if path.is_file()},
        authorities={path.name: path.read_bytes() for path in sorted(authorities.glob("*.crt"))},
        arguments={**ARGUMENTS, "SKYPILOT_VERSION": importlib.metadata.version("skypilot")},
    )


def size(docker: Docker, image: str) -> int | None:
    """None when it is not there."""
    lines = docker.lines("image", "ls", "--quiet", image)
    return int(docker.run("image", "inspect", "--format", "{{.Size}}", image)) if lines else None


def ensure(docker: Docker, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> str:
    """The image's name; it is there afterwards. `workshop`: a directory of ours to build in."""
    wanted = recipe()
    if size(docker, wanted.tag) is None:
        with one_at_a_time("machine image", say):
            if size(docker, wanted.tag) is None:
                _make(docker, wanted, workshop=workshop, environment=environment, say=say)
    return wanted.tag


def _make(
    docker: Docker, wanted: Recipe, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    watch = Stopwatch()
    say("building the machine image: once, a few minutes, about 1.5 GB")
    workshop.mkdir(parents=True, exist_ok=True)
    try:
        origin = debian.ensure(docker, workshop=workshop, environment=environment, say=say)
        _lay_out(docker, wanted, origin, workshop)
        _build(docker, wanted, origin, workshop=workshop, say=lambda text: say(f"  [{watch}] {text}"))
    finally:
        shutil.rmtree(workshop / "context", ignore_errors=True)
    built = size(docker, wanted.tag) or 0
    say(f"machine image {wanted.tag} built in {watch}: {built / 1e9:.1f} GB")


def _lay_out(docker: Docker, wanted: Recipe, origin: str, workshop: Path) -> None:
    context = workshop / "context"
    shutil.rmtree(context, ignore_errors=True)
    (context / "authorities").mkdir(parents=True)
    for name, content in wanted.parts.items():
        (context / name).write_bytes(content)
    for name, content in wanted.authorities.items():
        (context / "authorities" / name).write_bytes(content)
    # The machine's own Docker Engine starts with this image, so that a job can build upon it without a registry.
    (context / "authorities" / ".keep").touch()
    with docker.reading("save", origin) as saved, gzip.open(context / "debian.tar.gz", "wb", compresslevel=5) as packed:
        shutil.copyfileobj(saved.output, packed)
        if saved.code():
            raise SandboxError(f"docker save {origin} failed.", next_step="See `docker info` and the free disk space.")


def _build(docker: Docker, wanted: Recipe, origin: str, *, workshop: Path, say: Callable[[str], None]) -> None:
    arguments = {**wanted.arguments, "BASE": origin}
    words = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    log = workshop / "build.log"
    last: list[str] = []
    with (
        log.open("w", encoding="utf-8") as kept,
        docker.reading(
            "build", "--tag", wanted.tag, "--label", f"{IMAGE_LABEL}={wanted.tag}", *words, str(workshop / "context"),
            errors=subprocess.STDOUT,
        ) as build,
    ):  # fmt: skip
        for line in build.lines():
            kept.write(line)
            last = [*last[-4:], line.strip()] if line.strip() else last
            for step, what in STEPS.items():
                if line.startswith("Step ") and step in line:
                    say(what)
        if build.code():
            raise SandboxError(
                "The machine image could not be built:\n" + "\n".join(f"  {each}" for each in last),
                next_step=f"Everything the build said is in {log}. It needs the package servers of Debian and PyPI.",
            )
