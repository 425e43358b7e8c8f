"""A cloud's own program, run once within a time limit. An absent program and a refusal raise different errors."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO

SECONDS = 60
MOST_BYTES = 32 << 20
"""The most bytes of its output: the list of one lease's machines is shorter."""
_COMPLAINT = 4096
"""Bytes at the end of its stderr that we use."""
_PIECE = 1 << 16
_FORBIDDEN = "(Forbidden)"
"""kubectl's words: "Error from server (Forbidden): ..."."""


def programs(environ: Mapping[str, str]) -> Callable[[Sequence[str]], str]:
    def run(command: Sequence[str]) -> str:
        name = " ".join(word for word in command[:3] if not word.startswith("--"))
        code, out, err = run_bounded(command, environ, name=name, seconds=SECONDS)
        if code != 0:
            message = f"`{name}`: {err.strip()[-200:]}"
            raise PermissionError(message) if _FORBIDDEN in err else OSError(message)
        return out

    return run


def run_bounded(
    command: Sequence[str], environ: Mapping[str, str], *, name: str, seconds: float
) -> tuple[int, str, str]:
    """Return the exit code, stdout and the end of stderr. Raises TimeoutError or OSError.

    Both streams have a bound of bytes. A child that keeps them open ends with the program.
    """
    until = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise FileNotFoundError(f"`{command[0]}` is not installed here") from None
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    try:
        out, err = _read(*streams, until=until, name=name)
        code = process.wait(timeout=max(0.0, until - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise TimeoutError(f"`{name}` did not answer within {seconds:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in streams:
            stream.close()
    return code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def _read(stdout: IO[bytes], stderr: IO[bytes], *, until: float, name: str) -> tuple[bytes, bytes]:
    out, err, count = bytearray(), b"", 0
    with selectors.DefaultSelector() as waiting:
        waiting.register(stdout, selectors.EVENT_READ)
        waiting.register(stderr, selectors.EVENT_READ)
        while waiting.get_map():
            remaining = until - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            for key, _ in waiting.select(remaining):
                piece = os.read(key.fd, _PIECE)
                count += len(piece)
                if not piece:
                    waiting.unregister(key.fileobj)
                elif key.fileobj is stdout:
                    out += piece
                else:
                    err = (err + piece)[-_COMPLAINT:]
                if count > MOST_BYTES:
                    raise OSError(f"`{name}` printed more than {MOST_BYTES >> 20} MiB")
    return bytes(out), err
