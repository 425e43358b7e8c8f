"""A worker's end leaves no connection of ssh to a machine that stays: tried with a false `ssh`."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.engine import connections
from cvl_ci.engine.process import Worker

NOTES = """#!/bin/sh
for word; do test -S "$word" && echo is a socket >> "$HOME/words"; done
echo "$*" >> "$HOME/words"
"""
HANGS = """#!/bin/sh
echo $$ >> "$HOME/words"
exec sleep 600
"""
FAILS = """#!/bin/sh
echo "$*" >> "$HOME/words"
exit 255
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A worker with the sockets of two kept connections, and of one to the daemon of a machine."""
    programs = tmp_path / "bin"
    programs.mkdir()
    worker = Worker(environment={"HOME": str(tmp_path), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})
    folder = Path(worker._sockets)
    (folder / "a-cluster").mkdir()
    listening = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for each, name in zip(listening, ("a-cluster/one", "a-cluster/two", "skylet-0"), strict=True):
        each.bind(str(folder / name))
    (folder / "a-cluster" / "no-socket").touch()
    yield worker
    for each in listening:
        each.close()
    if worker.alive:
        worker.kill()
    with contextlib.suppress(BrokenPipeError):
        worker._stdin.close()


def ssh(tmp_path: Path, text: str) -> None:
    (tmp_path / "bin" / "ssh").write_text(text)
    (tmp_path / "bin" / "ssh").chmod(0o755)


@pytest.mark.parametrize("text", [NOTES, FAILS], ids=["notes", "fails"])
def test_each_kept_connection_is_asked_to_end_while_its_socket_is_there(
    worker: Worker, text: str, tmp_path: Path
) -> None:
    ssh(tmp_path, text)
    folder = Path(worker._sockets)
    worker.kill()
    words = (tmp_path / "words").read_text().splitlines()
    asked = sorted(line for line in words if line.startswith("-"))
    expected = [f"-F /dev/null -S {folder}/a-cluster/{name} -O exit machine" for name in ("one", "two")]
    assert asked == expected
    assert words.count("is a socket") == (2 if text == NOTES else 0)
    assert not folder.exists() and not worker.alive


def test_a_connection_that_does_not_answer_holds_nobody_up(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh(tmp_path, HANGS)
    waited: list[float] = []
    folder = Path(worker._sockets)

    class Clock:
        """Time is over once each `ssh` runs."""

        @staticmethod
        def monotonic() -> float:
            path = tmp_path / "words"
            while waited and not (path.exists() and len(path.read_text().split()) == 2):
                time.sleep(0.01)
            waited.append(1.0)
            return 0.0 if len(waited) == 1 else connections.SECONDS + 1

    monkeypatch.setattr(connections, "time", Clock)
    worker.kill()
    for number in map(int, (tmp_path / "words").read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
    assert not folder.exists()


def test_without_a_program_ssh_the_worker_ends_all_the_same(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(worker._sockets)
    monkeypatch.setattr(worker, "_environment", {"PATH": "/nowhere"})
    worker.kill()
    assert not folder.exists() and not worker.alive
