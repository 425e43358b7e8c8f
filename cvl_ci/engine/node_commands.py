"""What is asked of every node of a cluster, head first, by whatever way SkyPilot has to reach them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OUT_BYTES, ERR_BYTES = 65536, 2000
TRIES = 3
REST = ".rest"
"""The end of a file's name while its front is cut off: it is a copy, and no further bytes came."""
GREETING_BYTES = 65536
"""That a login shell may print before what is asked for."""


def ask(runners: Sequence[Any], command: str) -> list[dict[str, Any]]:
    """Of each: exit code, the beginning of stdout as it came, the end of stderr."""
    answers = []
    for runner in runners:
        code, out, err = runner.run(command, require_outputs=True, separate_stderr=True, stream_logs=False)
        answers.append({"code": code, "out": out[:OUT_BYTES], "err": err[-ERR_BYTES:]})
    return answers


def bring(runners: Sequence[Any], *, remote: str, wanted: Sequence[Sequence[tuple[str, int]]], into: Path) -> list[str]:
    """Copy files of a remote directory, by name and size, from every node to `into`/RANK/. Return what did not come.

    As bytes on stdout, and not by rsync: that would make links, devices and names as the machine has them.
    """
    problems = []
    for rank, (runner, files) in enumerate(zip(runners, wanted, strict=False)):
        (into / str(rank)).mkdir(parents=True, exist_ok=True)
        for name, size in files:
            target = into / str(rank) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            problem = next((None for _ in range(TRIES) if _came(runner, f"{remote}/{name}", target, size)), "")
            if problem is not None:
                here = target.stat().st_size if target.is_file() else 0
                problems.append(f"Of {name} of node {rank}, {here:,} of {size:,} bytes came.")
    return problems


def _came(runner: Any, source: str, target: Path, size: int) -> bool:
    """Tell whether all of it came. The name is one of ours; `~` is for the machine's shell to replace."""
    target.unlink(missing_ok=True)
    code = runner.run(
        f"head -c {size} {source}",
        log_path=str(target),
        process_stream=False,
        stream_logs=False,
        separate_stderr=True,
    )
    here = target.stat().st_size if target.is_file() else 0
    if code or not size <= here <= size + GREETING_BYTES:
        return False
    if here > size:
        _cut_front(target, here - size)
    return True


def _cut_front(file: Path, count: int) -> None:
    rest = file.with_name(f"{file.name}{REST}")
    with file.open("rb") as reading, rest.open("xb") as writing:
        reading.seek(count)
        shutil.copyfileobj(reading, writing, 1 << 20)
    rest.replace(file)
