"""Open files and folders below one folder without following a link: the one guard for all that is written by name.

A checkout can hold a link under a name that cvl-ci writes to. The action is root in its container. A machine can leave
a link where its archive should be. So each part of a path is opened by itself, with O_NOFOLLOW.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cvl_ci.errors import CvlError, RequestError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LinkInTheWay(CvlError):
    """Failure of a write: a name below the working folder is a link, so nothing was written through it."""

    exit_code = RequestError.exit_code

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"{path} is a link to another place, so cvl-ci wrote nothing there.",
            next_step="Remove the link from the checkout, or name another place.",
        )


def refuse_links(*paths: Path) -> None:
    """Raise LinkInTheWay if a part of a path below the working folder is a link.

    A person chose the paths elsewhere, so they pass.
    """
    for path in paths:
        below = Path.cwd()
        for part in _parts_below(path):
            below = below / part
            if below.is_symlink():
                raise LinkInTheWay(path)


def write_text(path: Path, text: str) -> None:
    """Write a whole file and create its folders. Raise LinkInTheWay or OSError."""
    with opened_to_write(path) as descriptor, os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(text.encode("utf-8", "replace"))


@contextmanager
def opened_to_write(path: Path, *, append: bool = False) -> Iterator[int]:
    """Yield a descriptor of a file; create it and its folders if they are missing. Raise LinkInTheWay or OSError."""
    refuse_links(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = os.O_APPEND if append else os.O_TRUNC
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | mode | _no_follow(path) | os.O_CLOEXEC, 0o666)
    except OSError:
        refuse_links(path)  # O_NOFOLLOW fails with ELOOP, which names no cause
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def folder_below(top: int, parts: Sequence[str]) -> tuple[int, int]:
    """Open a folder below an open folder, and create missing parts. Return its descriptor and how many were created.

    Raises OSError, which is NotADirectoryError where a part is a link or a file.
    """
    folder, count = os.dup(top), 0
    try:
        for part in parts:
            try:
                inner = os.open(part, _FOLDER, dir_fd=folder)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=folder)
                count += 1
                inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
    except BaseException:
        os.close(folder)
        raise
    return folder, count


def open_folder(path: Path) -> int:
    """Open a folder, and create it if it is missing. Raise LinkInTheWay or OSError."""
    refuse_links(path)
    path.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _no_follow(path) | os.O_CLOEXEC)


def _no_follow(path: Path) -> int:
    return os.O_NOFOLLOW if _parts_below(path) else 0


def _parts_below(path: Path) -> tuple[str, ...]:
    """Return the parts of a path below the working folder; none if the path lies elsewhere."""
    working_folder = Path.cwd()
    absolute = Path(os.path.normpath(working_folder / path))
    return PurePosixPath(absolute.relative_to(working_folder)).parts if absolute.is_relative_to(working_folder) else ()
