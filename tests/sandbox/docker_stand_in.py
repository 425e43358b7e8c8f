"""A docker command of a test's own: a shell script in a directory that is all of PATH."""

from __future__ import annotations

from pathlib import Path

from cvl_ci.sandbox.docker.engine import Docker


def docker_that(directory: Path, script: str) -> Docker:
    program = directory / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Docker({"PATH": f"{directory}:/usr/bin:/bin"})
