"""The remains of a sandbox in Docker when its emulator no longer runs and cannot list them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from cvl_ci.sandbox.docker.engine import LABEL, NAME_LABEL, Docker, DockerFailed


def find(docker: Docker, identity: str, *, lease: str | None) -> tuple[str, ...]:
    """Return the names of everything of this sandbox, and of machines in any sandbox that carry the lease's name."""
    own_label = ("--filter", f"label={LABEL}={identity}")
    return tuple(
        dict.fromkeys(
            [
                *docker.lines("ps", "--all", "--format", "{{.Names}}", *own_label),
                *docker.lines("volume", "ls", "--format", "{{.Name}}", *own_label),
                *docker.lines("network", "ls", "--format", "{{.Name}}", *own_label),
                *(_machines_of(docker, lease) if lease else ()),
            ]
        )
    )


def remove_machines(docker: Docker, names: Sequence[str]) -> None:
    """Remove the machines among these names. An absent machine is a success."""
    for name in {*docker.lines("ps", "--all", "--format", "{{.Names}}", "--filter", f"label={NAME_LABEL}")} & {*names}:
        with suppress(DockerFailed):  # a later search finds a machine that remains
            docker.run("rm", "--force", "--volumes", name)


def _machines_of(docker: Docker, lease: str) -> Iterator[str]:
    """Yield the machines that SkyPilot named after the lease: its name, then a suffix."""
    form = f'{{{{.Names}}}} {{{{.Label "{NAME_LABEL}"}}}}'
    for line in docker.lines("ps", "--all", "--format", form, "--filter", f"label={NAME_LABEL}"):
        container, _, name = line.partition(" ")
        if name.startswith(f"{lease}-"):
            yield container
