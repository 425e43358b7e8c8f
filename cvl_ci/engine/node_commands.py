"""Run commands on every node of a cluster, the head first, through any of SkyPilot's connections."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

OUT_BYTES, ERR_BYTES = 65536, 2000
TRIES = 3
REST = ".rest"
"""The end of a file's name while its front is cut off. The file is a copy, and no further bytes arrived."""
GREETING_BYTES = 65536
"""Bytes that a login shell may print before the command's own output."""


def ask(runners: Sequence[Any], command: str) -> list[dict[str, Any]]:
    """Return for each node: exit code, the beginning of its raw stdout, the end of stderr."""
    answers = []
    for runner in runners:
        code, out, err = runner.run(command, require_outputs=True, separate_stderr=True, stream_logs=False)
        answers.append({"code": code, "out": out[:OUT_BYTES], "err": err[-ERR_BYTES:]})
    return answers


def check(answers: Sequence[dict[str, Any]]) -> None:
    """Raise RuntimeError unless every node carried the command out."""
    for rank, answer in enumerate(answers):
        if answer["code"]:
            why = answer["err"].strip()[-300:] or f"status {answer['code']}"
            raise RuntimeError(f"Node {rank} could not do its part: {why}")


def bring(
    runners: Sequence[Any],
    *,
    remote: str,
    files: Sequence[Sequence[tuple[str, int]]],
    into: Path,
    dropped: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Copy files of a remote directory, by name and size, from every node to `into`/RANK/.

    Return the problems. The files come as bytes on stdout and not by rsync: rsync would create links, devices and names
    as the machine has them. `dropped` gets the number of bytes that came and were removed again.
    """
    problems = []
    for rank, (runner, files_of_node) in enumerate(zip(runners, files, strict=False)):
        (into / str(rank)).mkdir(parents=True, exist_ok=True)
        for name, size in files_of_node:
            target = into / str(rank) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            problem = next((None for _ in range(TRIES) if _came(runner, f"{remote}/{name}", target, size, dropped)), "")
            if problem is not None:
                arrived = target.stat().st_size if target.is_file() else 0
                problems.append(f"Of {name} of node {rank}, {arrived:,} of {size:,} bytes arrived.")
    return problems


def _came(runner: Any, source: str, target: Path, size: int, dropped: Callable[[int], None]) -> bool:
    """Return whether the whole file arrived. cvl-ci chose the name; the machine's shell replaces `~`."""
    before = target.stat().st_size if target.is_file() else 0
    target.unlink(missing_ok=True)
    dropped(before)
    code = runner.run(
        f"head -c {size} {source}",
        log_path=str(target),
        process_stream=False,
        stream_logs=False,
        separate_stderr=True,
    )
    arrived = target.stat().st_size if target.is_file() else 0
    if code or not size <= arrived <= size + GREETING_BYTES:
        return False
    if arrived > size:
        _cut_front(target, arrived - size)
        dropped(arrived - size)
    return True


def _cut_front(file: Path, count: int) -> None:
    rest = file.with_name(f"{file.name}{REST}")
    with file.open("rb") as reading, rest.open("xb") as writing:
        reading.seek(count)
        shutil.copyfileobj(reading, writing, 1 << 20)
    rest.replace(file)
