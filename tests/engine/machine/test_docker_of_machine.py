"""A job waits for the Docker engine of its machine, and not in an image that has Docker's client alone."""

from __future__ import annotations

import os
import socket
import subprocess
from importlib import resources
from pathlib import Path

import pytest

PROGRAMS = {"docker": 'echo "$@" >> "$CALLS"; exit 1', "sudo": 'shift; exec "$@"', "sleep": ":", "usermod": ":"}


@pytest.mark.parametrize(
    ("is_container", "has_socket", "waits"),
    [(True, False, False), (True, True, True), (False, False, True), (False, True, True)],
)
def test_only_an_engine_that_may_come_is_awaited(
    tmp_path: Path, is_container: bool, has_socket: bool, waits: bool
) -> None:
    """The files that show it are others in this test; the text is that of a node."""
    text = resources.files("cvl_ci.engine").joinpath("machine/prelude.sh").read_text(encoding="utf-8")
    part = text[text.index("cvl_ci_shell()") : text.index("export -f cvl_ci_shell")]
    place = tmp_path / "s"
    if has_socket:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    if is_container:
        (tmp_path / "dockerenv").touch()
    (tmp_path / "bin").mkdir()
    for name, body in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    part = part.replace("-w /var/run/docker.sock", "-w /nonexistent")  # root may write to each socket
    part = part.replace("/var/run/docker.sock", str(place)).replace("/.dockerenv", str(tmp_path / "dockerenv"))
    calls = tmp_path / "calls"
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls)}
    subprocess.run(["bash", "-euc", part], env=env, check=True, timeout=60)
    assert calls.exists() is waits
    assert not waits or len(calls.read_text().splitlines()) > 15
