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

from cvl_ci.engine.own_processes import FROM_NO_FOLDER
from cvl_ci.model.outcome import FetchedFile
from cvl_ci.ports import Fetched, UnpackStopped

UNPACK_SECONDS = 1_800.0
"""The longest time for unpacking. The machines are gone by then, so it costs only this run's own time."""
END_SECONDS = 5.0
"""The time that an interrupted unpacking has to remove a file that it wrote only in part."""
LONGEST_LINE = 1 << 20
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
"""The variables that Python needs to start. None of them is a secret."""
_AS_ISOLATED = ("-I",) if sys.flags.isolated else ()


def unpack(
    folder: Path, *, into: Path, directory: str, environment: Mapping[str, str], seconds: float = UNPACK_SECONDS
) -> Fetched:
    """Unpack in a process of its own. Return the unpacked files, also if that process failed or was ended.

    Ctrl-C ends that process too: raise UnpackStopped with the unpacked files.
    """
    program = [sys.executable, *_AS_ISOLATED, "-m", "cvl_ci.engine.fetch.worker_unpack"]
    arguments = [str(folder), str(into), directory, str(os.getpid())]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as chatter:
        process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=chatter,
            env={"PYTHONUTF8": "1", **FROM_NO_FOLDER}
            | {name: environment[name] for name in _PASSED_ON if name in environment},
            start_new_session=True,  # a terminal sends Ctrl-C to every process of its own session
        )
        try:
            code = process.wait(timeout=seconds)
            over = "" if code == 0 else _failure(code, chatter)
        except subprocess.TimeoutExpired:
            over = f"Unpacking the outputs took longer than {_duration(seconds)} and was ended."
        except KeyboardInterrupt:
            _end(process)
            raise UnpackStopped(_read(output, "Unpacking the outputs was stopped.")) from None
        finally:
            _end(process)
        return _read(output, over)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, if it lives. It gets time to remove a file that it has written only in part."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} minutes"


def _read(output: BinaryIO, over: str) -> Fetched:
    output.seek(0)
    files: list[FetchedFile] = []
    refusals: list[str] = []
    end: dict[str, Any] = {}
    while line := output.readline(LONGEST_LINE):
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
        count = f"{len(files):,} file{'' if len(files) == 1 else 's'}"
        why = over or "Unpacking the outputs ended early."
        problem = f"{why} {count} came into the outputs folder; the rest is lost."
        return Fetched(files=tuple(files), refused=tuple(refusals), problem=problem)
    return Fetched(files=tuple(files), refused=tuple(end["refused"]), problem=end["problem"])


def _failure(code: int, chatter: BinaryIO) -> str:
    chatter.seek(0)
    lines = chatter.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    return f"Unpacking the outputs failed (status {code}{': ' + lines[-1][:200] if lines else ''})."
