"""A lock for image builds: one process builds, the others wait and then use its image."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cvl_ci.errors import SandboxError


@contextmanager
def one_at_a_time(subject: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock among this user's processes on this computer. The kernel frees it when the process dies."""
    path = Path(tempfile.gettempdir()) / f"cvl-ci-{os.getuid()}-{subject.replace(' ', '-')}.lock"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SandboxError(
            f"The {subject} was not built: its lock file {path} cannot be opened ({error.strerror}).",
            next_step="Remove that file, or set TMPDIR to a folder that you can write to. Then try again.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is building the {subject}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
