"""Files and folders opened below one folder without following any link: the one guard for all that is written by name.

A checkout can hold a link under a name that cvl-ci writes to, and in its container the action is root. A machine can
leave a link where its archive should be. Each part of a path is therefore opened by itself, with O_NOFOLLOW.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cvl_ci.errors import CvlError, RequestError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LinkInTheWay(CvlError):
    """A name below the working folder is a link, so nothing was written through it."""

    exit_code = RequestError.exit_code

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"{path} leads elsewhere by a link, so nothing was written there.",
            next_step="Remove the link from the checkout, or name another place.",
        )


def refuse_links(*paths: Path) -> None:
    """Raise LinkInTheWay where a part of a path below the working folder is a link. Paths elsewhere are a person's."""
    for path in paths:
        below = Path.cwd()
        for part in _parts_below(path):
            below = below / part
            if below.is_symlink():
                raise LinkInTheWay(path)


def write_text(path: Path, text: str) -> None:
    """Write a whole file, and its folders. Raises LinkInTheWay, OSError."""
    with opened_to_write(path) as descriptor, os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(text.encode("utf-8", "replace"))


@contextmanager
def opened_to_write(path: Path, *, append: bool = False) -> Iterator[int]:
    """Yield a descriptor of a file, made with its folders where they are missing. Raises LinkInTheWay, OSError."""
    refuse_links(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = os.O_APPEND if append else os.O_TRUNC
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | mode | _no_follow(path) | os.O_CLOEXEC, 0o666)
    except OSError:
        refuse_links(path)  # O_NOFOLLOW says ELOOP, which names no cause
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def folder_below(top: int, parts: Sequence[str]) -> tuple[int, int]:
    """Open a folder below an open folder, and make what is missing: its descriptor, and how many were made.

    Raises OSError, which is NotADirectoryError where a part is a link or a file.
    """
    here, count = os.dup(top), 0
    try:
        for part in parts:
            try:
                inner = os.open(part, _FOLDER, dir_fd=here)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=here)
                count += 1
                inner = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = inner
    except BaseException:
        os.close(here)
        raise
    return here, count


def open_folder(path: Path) -> int:
    """Open a folder, and make it where it is missing. Raises LinkInTheWay, OSError."""
    refuse_links(path)
    path.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _no_follow(path) | os.O_CLOEXEC)


def _no_follow(path: Path) -> int:
    return os.O_NOFOLLOW if _parts_below(path) else 0


def _parts_below(path: Path) -> tuple[str, ...]:
    """The parts of a path below the working folder; none of a path that lies elsewhere."""
    here = Path.cwd()
    whole = Path(os.path.normpath(here / path))
    return PurePosixPath(whole.relative_to(here)).parts if whole.is_relative_to(here) else ()
