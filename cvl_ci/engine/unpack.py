"""What a machine packed, taken apart as hostile: only plain files and inner links, inside one folder, owned by us."""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cvl_ci.ports import Fetched
from cvl_ci.request.turns import NAME
from cvl_ci.request.values import MOST_TURNS
from cvl_ci.result.outcome import FetchedFile

_KINDS = ("root", "work")
WORK = "cvl-work"
"""Where what was written to CVL_WORK_DIR goes."""
ROOT = "cvl-root"
"""Where changed files of the staged tree go that lie outside the example."""


def unpack(folder: Path, *, into: Path, directory: str) -> Fetched:
    """`folder`/RANK/{root,work}.tar → `into`; node 0 at the top, the others under `node-RANK/`."""
    archives = sorted((int(node.name), name, node / name) for node in folder.iterdir() for name in _archives(node))
    size = sum(archive.stat().st_size for _, _, archive in archives)
    into.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(into).free
    if size > free:
        return Fetched(problem=f"The outputs take {size:,} bytes and only {free:,} are free in {into}.")
    unpacking = _Unpacking(into=into, directory=directory, free=free)
    problem = None
    for rank, name, archive in archives:
        node = PurePosixPath(f"node-{rank}") if rank else PurePosixPath()
        sample, _, kind = name.removesuffix(".tar").rpartition(".")
        problem = problem or unpacking.take(archive, name=f"{kind}.tar", top=node / sample)
    return Fetched(files=tuple(unpacking.files), refused=tuple(unpacking.refused), problem=problem)


def _archives(node: Path) -> list[str]:
    """Of a job that ran more than once, two of each sample beside its own: `sample-1.root.tar`."""
    whole = [f"{kind}.tar" for kind in _KINDS if (node / f"{kind}.tar").is_file()]
    names = [file.name.split(".") for file in node.iterdir() if file.is_file()]
    samples = [f"{parts[0]}.{parts[1]}.tar" for parts in names if _of_a_sample(parts)]
    return [*whole, *samples[: 2 * len(_KINDS) * MOST_TURNS]]


def _of_a_sample(parts: list[str]) -> bool:
    return len(parts) == 3 and parts[1] in _KINDS and parts[2] == "tar" and NAME.fullmatch(parts[0]) is not None


@dataclass(kw_only=True)
class _Unpacking:
    into: Path
    directory: str
    free: int
    """Bytes that may still be written: an archive can unpack to more than it is."""
    files: list[FetchedFile] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def take(self, archive: Path, *, name: str, top: PurePosixPath) -> str | None:
        """The reason why not all of it could be taken, if so."""
        try:
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    self.free -= member.size
                    if self.free < 0:
                        return "The outputs unpack to more bytes than are free here; the rest was left out."
                    self._take_one(tar, member, name, top)
        except (tarfile.TarError, OSError, ValueError) as error:
            return f"The archive of outputs is damaged: {error}"
        return None

    def _take_one(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, top: PurePosixPath) -> None:
        why = _bad_name(member.name)
        target = top if why else top / _place(PurePosixPath(member.name), name, self.directory)
        why = why or _bad_kind(member, self.into / target, self.into)
        why = why or _write(tar, member, self.into / target, self.into)
        if why is not None:
            self.refused.append(f"{member.name!r}: {why}")
        elif not member.issym():
            self.files.append(FetchedFile(path=str(target), bytes=member.size))


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
