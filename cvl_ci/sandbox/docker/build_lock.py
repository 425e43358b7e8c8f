"""Of several that need the same image, one builds it; the others wait, and find it there."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cvl_ci.errors import SandboxError


@contextmanager
def one_at_a_time(what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Among this user's processes on this computer. Whoever dies in it lets go of it."""
    path = Path(tempfile.gettempdir()) / f"cvl-ci-{os.getuid()}-{what.replace(' ', '-')}.lock"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SandboxError(
            f"The {what} was not built: {path}, held by one builder at a time, cannot be opened ({error.strerror}).",
            next_step="Remove it, or have TMPDIR name a folder that can be written, and try again.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is building the {what}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
