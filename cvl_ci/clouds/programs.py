"""A cloud's own program, asked once and in time; its words come back, its absence and its refusals are told apart."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

SECONDS = 60
MOST_BYTES = 32 << 20
"""Of what it prints: more is no list of one lease's machines."""
_FORBIDDEN = "(Forbidden)"
"""kubectl's "Error from server (Forbidden): ..." """


def programs(environ: Mapping[str, str]) -> Callable[[Sequence[str]], str]:
    def run(command: Sequence[str]) -> str:
        name = " ".join(word for word in command[:3] if not word.startswith("--"))
        code, out, err = _ran(command, environ, name)
        if code != 0:
            words = f"`{name}`: {err.strip()[-200:]}"
            raise PermissionError(words) if _FORBIDDEN in err else OSError(words)
        return out

    return run


def _ran(command: Sequence[str], environ: Mapping[str, str], name: str) -> tuple[int, str, str]:
    """Exit code and both outputs. What it prints has a bound, and so has the time that it and its children take."""
    late = threading.Event()
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise FileNotFoundError(f"`{command[0]}` is not installed here") from None

        def end() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(SECONDS, end)
        timer.start()
        try:
            with process:
                out = process.stdout.read(MOST_BYTES + 1) if process.stdout else b""
                if len(out) > MOST_BYTES:
                    _kill(process)
                    raise OSError(f"`{name}` printed more than {MOST_BYTES >> 20} MiB")
        finally:
            timer.cancel()
        if late.is_set():
            raise TimeoutError(f"`{name}` did not answer within {SECONDS} s")
        complaints.seek(max(0, complaints.tell() - 4096))
        err = complaints.read(4096).decode("utf-8", "replace")
    return process.returncode, out.decode("utf-8", "replace"), err


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
