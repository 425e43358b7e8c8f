"""What Docker still has of a sandbox that is down: nobody else is left who could be asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from cvl_ci.sandbox.docker.engine import LABEL, NAME_LABEL, Docker, DockerFailed


def left(docker: Docker, identity: str, *, lease: str | None) -> tuple[str, ...]:
    """All of this sandbox, and of any sandbox those machines that carry the lease's name."""
    mine = ("--filter", f"label={LABEL}={identity}")
    return tuple(
        dict.fromkeys(
            [
                *docker.lines("ps", "--all", "--format", "{{.Names}}", *mine),
                *docker.lines("volume", "ls", "--format", "{{.Name}}", *mine),
                *docker.lines("network", "ls", "--format", "{{.Name}}", *mine),
                *(_machines_of(docker, lease) if lease else ()),
            ]
        )
    )


def remove_machines(docker: Docker, names: Sequence[str]) -> None:
    """Those of these names that are machines. Gone already is gone."""
    for name in {*docker.lines("ps", "--all", "--format", "{{.Names}}", "--filter", f"label={NAME_LABEL}")} & {*names}:
        with suppress(DockerFailed):  # whoever is still there is found again
            docker.run("rm", "--force", "--volumes", name)


def _machines_of(docker: Docker, lease: str) -> Iterator[str]:
    """By the name SkyPilot gave them: the lease's, and something after it."""
    form = f'{{{{.Names}}}} {{{{.Label "{NAME_LABEL}"}}}}'
    for line in docker.lines("ps", "--all", "--format", form, "--filter", f"label={NAME_LABEL}"):
        container, _, name = line.partition(" ")
        if name.startswith(f"{lease}-"):
            yield container
