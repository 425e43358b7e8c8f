"""Start worker_unpack.py, read its messages, and end it when it takes too long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from cvl_ci.model.outcome import FetchedFile
from cvl_ci.ports import Fetched

UNPACK_SECONDS = 1_800.0
"""The longest time for unpacking. The machines are gone by then, so it costs only this run's own time."""
LONGEST_LINE = 1 << 20
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
"""The variables that Python needs to start. None of them is a secret."""
_AS_ISOLATED = ("-I",) if sys.flags.isolated else ()


def unpack(
    folder: Path, *, into: Path, directory: str, environment: Mapping[str, str], seconds: float = UNPACK_SECONDS
) -> Fetched:
    """Unpack in a process of its own. Return the unpacked files, also if that process failed or was ended."""
    program = [sys.executable, *_AS_ISOLATED, "-m", "cvl_ci.engine.worker_unpack"]
    arguments = [str(folder), str(into), directory, str(os.getpid())]
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as chatter:
        try:
            done = subprocess.run(
                [*program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=chatter,
                env={"PYTHONUTF8": "1"} | {name: environment[name] for name in _PASSED_ON if name in environment},
                timeout=seconds,
                check=False,
            )
            over = "" if done.returncode == 0 else _failure(done.returncode, chatter)
        except subprocess.TimeoutExpired:
            over = f"Unpacking the outputs took longer than {seconds / 60:.3g} minutes and was ended."
        return _read(told, over)


def _read(told: BinaryIO, over: str) -> Fetched:
    told.seek(0)
    files: list[FetchedFile] = []
    refusals: list[str] = []
    end: dict[str, Any] = {}
    while line := told.readline(LONGEST_LINE):
        try:
            values = json.loads(line)
        except ValueError:
            break  # the process ended in the middle of a line
        if "path" in values:
            files.append(FetchedFile(path=values["path"], bytes=values["bytes"]))
        elif "refusal" in values:
            refusals.append(values["refusal"])
        else:
            end = values
    if not end:
        more = f"{over or 'Unpacking the outputs ended early.'} What came before that is in the outputs folder."
        return Fetched(files=tuple(files), refused=tuple(refusals), problem=more)
    return Fetched(files=tuple(files), refused=tuple(end["refused"]), problem=end["problem"])


def _failure(code: int, chatter: BinaryIO) -> str:
    chatter.seek(0)
    lines = chatter.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    return f"Unpacking the outputs failed (status {code}{': ' + lines[-1][:200] if lines else ''})."
