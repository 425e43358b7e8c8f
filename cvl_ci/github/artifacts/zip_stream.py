"""Which files go into an artifact, and the zip of them as a stream: nothing hidden, nothing from outside the root.

Files are stored, not deflated: a checkpoint does not get smaller, only later. Sizes of 4 GiB and more are zip64.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from cvl_ci.github.artifacts.name import entry_name

CHUNK_BYTES = 1024 * 1024
EARLIEST = (1980, 1, 1, 0, 0, 0)
HIDDEN, OUTSIDE, ABSENT, SPECIAL = "hidden", "leads out of the folder", "is not there", "is not a regular file"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """`files`: path relative to the root → where its content is, links resolved. `left_out`: path → why."""

    files: Mapping[str, Path]
    left_out: Mapping[str, str]


def choose(root: Path, paths: Sequence[str]) -> Chosen:
    """Files named, and all below directories named, in order of their names. Directory links are not walked."""
    top = Path(os.path.realpath(root))
    files: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for path in paths:
        for file_path in _below(top, PurePosixPath(path)):
            verdict = _verdict(top, file_path)
            if isinstance(verdict, Path):
                files[str(file_path)] = verdict
            else:
                left_out[str(file_path)] = verdict
    return Chosen(files=dict(sorted(files.items())), left_out=dict(sorted(left_out.items())))


class Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


def write_zip(into: Sink, root: Path, files: Mapping[str, Path]) -> Mapping[str, str]:
    """To something that knows no way back. Returns what could not be read after all, and why."""
    top, used_names, unread = Path(os.path.realpath(root)), set[str](), dict[str, str]()
    with zipfile.ZipFile(cast("BinaryIO", into), "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for path, source in files.items():
            problem = _add(archive, top, source, entry_name(path, used_names=used_names))
            if problem:
                unread[path] = problem
    return unread


def _below(top: Path, path: PurePosixPath) -> Iterator[PurePosixPath]:
    if path.is_absolute() or ".." in path.parts or not (top / path).is_dir() or (top / path).is_symlink():
        yield path
        return
    for folder, folders, names in os.walk(top / path):
        relative = PurePosixPath(folder).relative_to(top)
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(set(folders) - {*linked, *hidden})
        yield from (relative / name for name in sorted({*names, *linked, *hidden}))


def _verdict(top: Path, path: PurePosixPath) -> Path | str:
    if path.is_absolute() or ".." in path.parts:
        return OUTSIDE
    if any(part.startswith(".") for part in path.parts):
        return HIDDEN
    source = Path(os.path.realpath(top / path))
    if not source.is_relative_to(top):
        return OUTSIDE
    if any(part.startswith(".") for part in source.relative_to(top).parts):
        return HIDDEN
    if not source.exists():
        return ABSENT
    return source if source.is_file() else SPECIAL


def _add(archive: zipfile.ZipFile, top: Path, source: Path, name: str) -> str | None:
    """Add one file. A file inside the root must still be one when it is opened."""
    try:
        with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as reading:
            status = os.fstat(reading.fileno())
            if not stat.S_ISREG(status.st_mode):
                return SPECIAL
            if not Path(f"/proc/self/fd/{reading.fileno()}").readlink().is_relative_to(top):
                return OUTSIDE
            _store(archive, reading, status, name)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _store(archive: zipfile.ZipFile, reading: BinaryIO, status: os.stat_result, name: str) -> None:
    """As many bytes as it had when it was opened: a log that grows faster than it is sent would never end."""
    info = zipfile.ZipInfo(name, date_time=EARLIEST)
    info.external_attr = (stat.S_IFREG | stat.S_IMODE(status.st_mode) & 0o755) << 16
    info.file_size = status.st_size
    bytes_left = status.st_size
    with archive.open(info, "w") as writing:
        while bytes_left and (chunk := reading.read(min(bytes_left, CHUNK_BYTES))):
            writing.write(chunk)
            bytes_left -= len(chunk)
