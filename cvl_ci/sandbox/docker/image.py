"""The machine image.

The first use builds it from machine/; its name is a hash of its parts; only a person removes it.
"""

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
from cvl_ci.sandbox.timer import Timer

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
    "COPY debian": "assembling the image",
}
"""The slow lines of the Dockerfile, by their first words."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All parts of the image: equal recipes give equal images. `authorities`: certificates that it trusts."""

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
    """Return the recipe of the image that this version of cvl-ci and this computer need."""
    return Recipe(
        parts={path.name: path.read_bytes() for path in sorted(parts.iterdir()) if path.is_file()},
        authorities={path.name: path.read_bytes() for path in sorted(authorities.glob("*.crt"))},
        arguments={**ARGUMENTS, "SKYPILOT_VERSION": importlib.metadata.version("skypilot")},
    )


def size(docker: Docker, image: str) -> int | None:
    """Return the size of the image in bytes, or None when it does not exist."""
    lines = docker.lines("image", "ls", "--quiet", image)
    return int(docker.run("image", "inspect", "--format", "{{.Size}}", image)) if lines else None


def ensure(docker: Docker, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> str:
    """Return the image's name, and build the image if necessary. `workshop`: a directory for the build."""
    recipe_ = recipe()
    if size(docker, recipe_.tag) is None:
        with one_at_a_time("machine image", say):
            if size(docker, recipe_.tag) is None:
                _make(docker, recipe_, workshop=workshop, environment=environment, say=say)
    return recipe_.tag


def _make(
    docker: Docker, recipe_: Recipe, *, workshop: Path, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Build Debian's base, then the image on it, and tell how it goes. Raises SandboxError."""
    watch = Timer()
    say("building the machine image: only once, in a few minutes, about 1.5 GB")
    workshop.mkdir(parents=True, exist_ok=True)
    try:
        origin = debian.ensure(docker, workshop=workshop, environment=environment, say=say)
        _lay_out(docker, recipe_, origin, workshop)
        _build(docker, recipe_, origin, workshop=workshop, say=lambda text: say(f"  [{watch}] {text}"))
    finally:
        shutil.rmtree(workshop / "context", ignore_errors=True)
    built = size(docker, recipe_.tag) or 0
    say(f"machine image {recipe_.tag} built in {watch}: {built / 1e9:.1f} GB")


def _lay_out(docker: Docker, recipe_: Recipe, origin: str, workshop: Path) -> None:
    """Write the folder from which Docker builds: the recipe's files, and the base as an archive."""
    context = workshop / "context"
    shutil.rmtree(context, ignore_errors=True)
    (context / "authorities").mkdir(parents=True)
    for name, content in recipe_.parts.items():
        (context / name).write_bytes(content)
    for name, content in recipe_.authorities.items():
        (context / "authorities" / name).write_bytes(content)
    # The machine's own Docker Engine starts with this image, so that a job can build on it without a registry.
    (context / "authorities" / ".keep").touch()
    with docker.reading("save", origin) as saved, gzip.open(context / "debian.tar.gz", "wb", compresslevel=5) as packed:
        shutil.copyfileobj(saved.output, packed)
        if saved.code():
            raise SandboxError(f"docker save {origin} failed.", next_step="See `docker info` and the free disk space.")


def _build(docker: Docker, recipe_: Recipe, origin: str, *, workshop: Path, say: Callable[[str], None]) -> None:
    arguments = {**recipe_.arguments, "BASE": origin}
    words = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    log = workshop / "build.log"
    last: list[str] = []
    with (
        log.open("w", encoding="utf-8") as output,
        docker.reading(
            "build", "--tag", recipe_.tag, "--label", f"{IMAGE_LABEL}={recipe_.tag}", *words, str(workshop / "context"),
            errors=subprocess.STDOUT,
        ) as build,
    ):  # fmt: skip
        for line in build.lines():
            output.write(line)
            last = [*last[-4:], line.strip()] if line.strip() else last
            for step, description in STEPS.items():
                if line.startswith("Step ") and step in line:
                    say(description)
        if build.code():
            raise SandboxError(
                "The machine image could not be built:\n" + "\n".join(f"  {text}" for text in last),
                next_step=f"The whole output is in {log}. The build needs the package servers of Debian and PyPI.",
            )
