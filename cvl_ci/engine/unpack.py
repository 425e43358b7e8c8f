"""What a machine packed, taken apart as hostile: only plain files and inner links, inside one folder, owned by us."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from cvl_ci.ports import Fetched
from cvl_ci.result.outcome import FetchedFile

WORK = "cvl-work"
"""Where what was written to CVL_WORK_DIR goes."""
ROOT = "cvl-root"
"""Where changed files of the staged tree go that lie outside the example."""


def unpack(folder: Path, *, into: Path, directory: str) -> Fetched:
    """`folder`/RANK/{root,work}.tar → `into`; node 0 at the top, the others under `node-RANK/`."""
    files: list[FetchedFile] = []
    refused: list[str] = []
    archives = [(int(node.name), name) for node in folder.iterdir() for name in ("root.tar", "work.tar")]
    archives = [(rank, name) for rank, name in sorted(archives) if (folder / str(rank) / name).is_file()]
    size = sum((folder / str(rank) / name).stat().st_size for rank, name in archives)
    into.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(into).free
    if size > free:
        return Fetched(problem=f"The outputs take {size:,} bytes and only {free:,} are free in {into}.")
    for rank, name in archives:
        top = PurePosixPath(f"node-{rank}") if rank else PurePosixPath()
        problem = _unpack_one(folder / str(rank) / name, into, top, name, directory, free, files, refused)
        if problem:
            return Fetched(files=tuple(files), refused=tuple(refused), problem=problem)
    return Fetched(files=tuple(files), refused=tuple(refused))


def _unpack_one(
    archive: Path,
    into: Path,
    top: PurePosixPath,
    name: str,
    directory: str,
    free: int,
    files: list[FetchedFile],
    refused: list[str],
) -> str | None:
    written = 0
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                why = _bad_name(member.name)
                target = top if why else top / _place(PurePosixPath(member.name), name, directory)
                why = why or _bad_kind(member, into / target, into)
                written += member.size
                if why is None and written > free:
                    return f"The outputs unpack to more than the {free:,} bytes that are free; the rest was left out."
                if why is None:
                    why = _write(tar, member, into / target, into)
                if why is not None:
                    refused.append(f"{member.name!r}: {why}")
                elif not member.issym():
                    files.append(FetchedFile(path=str(target), bytes=member.size))
    except (tarfile.TarError, OSError, ValueError) as error:
        return f"The archive of outputs is damaged: {error}"
    return None


def _place(path: PurePosixPath, archive: str, directory: str) -> PurePosixPath:
    if archive == "work.tar":
        return PurePosixPath(WORK) / path
    inner = PurePosixPath(directory)
    if inner == PurePosixPath() or path.is_relative_to(inner):
        return path.relative_to(inner)
    return PurePosixPath(ROOT) / path


def _bad_name(name: str) -> str | None:
    """Why nothing may be written under this name: CVE-2007-4559, and what a terminal would make of it."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        return "leads out of the outputs folder"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "control characters in its name"
    return None


def _bad_kind(member: tarfile.TarInfo, target: Path, into: Path) -> str | None:
    if not (member.isfile() or member.issym() or member.islnk()):
        return "neither a file nor a link"
    root = into.resolve()
    if not target.parent.resolve().is_relative_to(root):
        return "its folder is a link that leads out"
    if member.issym() or member.islnk():
        base = target.parent if member.issym() else root
        if member.linkname.startswith("/") or not Path(os.path.normpath(base / member.linkname)).is_relative_to(root):
            return f"a link that leads out (to {member.linkname!r})"
    return None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, into: Path) -> str | None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        target.unlink()
    if member.issym():
        target.symlink_to(member.linkname)
        return None if target.resolve().is_relative_to(into.resolve()) else _drop(target)
    source = tar.extractfile(member)
    if source is None:
        return "a link to nothing"
    with source, target.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)
    os.utime(target, (member.mtime, member.mtime))
    return None


def _drop(target: Path) -> str:
    target.unlink()
    return "a link that leads out"


