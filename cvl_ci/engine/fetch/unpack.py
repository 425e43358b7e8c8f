"""Unpack a machine's archive as hostile input: only plain files and inner links, inside one folder, owned by this user.

No member can end the run. Each member is taken or refused by itself, with the reason, and the taken files stay. Every
folder on the way to a file is opened without following links. Links are made last, so nothing is written through one.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cvl_ci.engine.fetch import tarball
from cvl_ci.engine.fetch.member_paths import (
    DEEPEST,
    LONGEST_PART,
    LONGEST_PATH,
    MemberRefused,
    inside,
    path_of,
    place_of,
    readable,
    short,
)
from cvl_ci.engine.fetch.tarball import Member, MemberKind
from cvl_ci.inputs.parsers import MOST_TRIALS
from cvl_ci.model.outcome import FetchedFile
from cvl_ci.planning.trials import NAME
from cvl_ci.ports import Fetched
from cvl_ci.result.no_follow import LinkInTheWay, folder_below, open_folder

_KINDS = ("root", "work")
MOST_FILES = 100_000
"""Files and links of a run, of all nodes together; the limit for folders is the same."""
MOST_REFUSALS = 200
"""Refusals that are listed one by one; the others are counted."""
RESERVE_BYTES = 256 << 20
"""Bytes of the disk that the rest of the run needs: its log, its summary, SkyPilot's own state."""
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class UnpackLimits:
    """Limits of one run. `bytes_free`: None means the free bytes of the disk without the reserve."""

    files: int = MOST_FILES
    bytes_free: int | None = None


Tell = Callable[[FetchedFile | str], None]
"""Called with each file as soon as it exists, and with each refusal, as text."""


def archive_name(name: str) -> bool:
    """Return whether an archive has one of the names that cvl-ci's own packing gives."""
    parts = name.split(".")
    of_a_sample = len(parts) == 3 and parts[1] in _KINDS and parts[2] == "tar" and NAME.fullmatch(parts[0]) is not None
    return of_a_sample or name in {f"{kind}.tar" for kind in _KINDS}


MOST_ARCHIVES = len(_KINDS) + 2 * len(_KINDS) * MOST_TRIALS
"""The limit of one node. If a job ran several times, two archives of each sample stand next to the node's own."""


def room(folder: Path) -> int:
    """Return how many bytes may be written into a folder."""
    return max(0, shutil.disk_usage(folder).free - RESERVE_BYTES)


def unpack(
    folder: Path, *, into: Path, directory: str, limits: UnpackLimits | None = None, tell: Tell = lambda _: None
) -> Fetched:
    """Unpack `folder`/RANK/{root,work}.tar → `into`; node 0 at the top, the others under `node-RANK/`. Never raises."""
    limits = limits or UnpackLimits()
    try:
        top = open_folder(into)
    except (LinkInTheWay, OSError) as error:
        what = error.what if isinstance(error, LinkInTheWay) else f"{into} cannot be written to ({error.strerror})."
        return Fetched(problem=f"The outputs were not unpacked: {what}")
    try:
        free = room(into) if limits.bytes_free is None else limits.bytes_free
        unpacking = _Unpacking(top=top, directory=directory, free=free, most=limits.files, tell=tell)
        for rank, name in _archives(folder):
            node = PurePosixPath(f"node-{rank}") if rank else PurePosixPath()
            sample, _, kind = name.removesuffix(".tar").rpartition(".")
            unpacking.unpack(folder / str(rank) / name, kind=kind, base=node / sample, name=f"{name} of node {rank}")
        unpacking.make_links()
    finally:
        os.close(top)
    return unpacking.fetched()


def _archives(folder: Path) -> list[tuple[int, str]]:
    nodes = sorted(int(node.name) for node in folder.iterdir() if node.name.isascii() and node.name.isdecimal())
    archives = []
    for rank in nodes:
        node = folder / str(rank)
        names = sorted(file.name for file in node.iterdir()) if node.is_dir() and not node.is_symlink() else []
        chosen = [name for name in names if archive_name(name)][:MOST_ARCHIVES]
        archives += [(rank, name) for name in sorted(chosen, key=lambda name: (name.count("."), name))]
    return archives


@dataclass(frozen=True, kw_only=True)
class _Link:
    """A link that is made after all files. `name_on_machine`: its path in the archive, readable."""

    place: PurePosixPath
    text: str
    name_on_machine: str


@dataclass(kw_only=True)
class _Unpacking:
    top: int
    directory: str
    free: int
    """Bytes that may still be written: an archive can unpack to more bytes than it has."""
    most: int
    tell: Tell
    files: dict[str, FetchedFile] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    untold: int = 0
    problems: list[str] = field(default_factory=list)
    links: dict[str, _Link] = field(default_factory=dict)
    folders: int = 0

    def fetched(self) -> Fetched:
        untold_line = [f"and {self.untold:,} more"] if self.untold else []
        problem = " ".join(dict.fromkeys(self.problems)) or None
        return Fetched(files=tuple(self.files.values()), refused=(*self.refusals, *untold_line), problem=problem)

    def unpack(self, archive: Path, *, kind: str, base: PurePosixPath, name: str) -> None:
        """Take all members of one archive that pass the checks."""
        try:
            with open(os.open(archive, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    self.problems.append(f"{name} is not a file, so it was not opened.")
                    return
                for member in tarball.members(file, length=status.st_size):
                    if len(self.files) + len(self.links) >= self.most:
                        self.problems.append(
                            f"The outputs hold more than {self.most:,} files and links; the rest was left out."
                        )
                        return
                    self._take_one(file.fileno(), member, kind, base)
        except tarball.Damaged as damage:
            self.problems.append(
                f"The archive of outputs {name} is damaged: {damage}. The members before it were unpacked."
            )
        except OSError as error:
            self.problems.append(f"The archive of outputs {name} could not be read: {error.strerror}.")

    def make_links(self) -> None:
        """Make the links. A link to itself, or to a file that did not arrive, is refused."""
        created = []
        for link in self.links.values():
            try:
                self._link(link)
                created.append(link)
            except MemberRefused as refusal:
                self._refuse(link.name_on_machine, str(refusal))
            except OSError as error:
                self._refuse(link.name_on_machine, _reason(error))
        for link in created:
            try:
                os.stat(str(link.place), dir_fd=self.top)
            except OSError:
                os.unlink(str(link.place), dir_fd=self.top)
                self._refuse(link.name_on_machine, "a link to a file that did not arrive")

    def _take_one(self, source: int, member: Member, kind: str, base: PurePosixPath) -> None:
        name = readable(member.name)
        try:
            path = path_of(member, name)
            place = self._free_place(base / place_of(path, kind, self.directory))
            if member.kind is MemberKind.LINK:
                target = base / place_of(inside(path.parent, readable(member.target)), kind, self.directory)
                text = posixpath.relpath(str(target), str(place.parent))
                self.links[str(place)] = _Link(place=place, text=text, name_on_machine=name)
            elif member.kind is MemberKind.HARD_LINK:
                original = base / place_of(inside(PurePosixPath(), readable(member.target)), kind, self.directory)
                self._copy(original, place, member)
            else:
                self._write(source, member.offset, member.size, place, member)
        except MemberRefused as refusal:
            self._refuse(name, str(refusal))
        except OSError as error:
            self._refuse(name, _reason(error))

    def _free_place(self, place: PurePosixPath) -> PurePosixPath:
        if str(place) in self.files or str(place) in self.links:
            raise MemberRefused("another file of this name came before it")
        if len(place.parts) > DEEPEST:
            raise MemberRefused(f"more than {DEEPEST} folders deep")
        if len(str(place).encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_PART for part in place.parts):
            raise MemberRefused(f"its path is longer than {LONGEST_PATH:,} bytes, or a part of it than {LONGEST_PART}")
        return place

    def _refuse(self, name: str, reason: str) -> None:
        if len(self.refusals) >= MOST_REFUSALS:
            self.untold += 1
            return
        refusal = f"{short(name)!r}: {reason}"
        self.refusals.append(refusal)
        self.tell(refusal)

    def _copy(self, original: PurePosixPath, place: PurePosixPath, member: Member) -> None:
        """Copy a hard link into a file of its own, which counts as one."""
        original_file = self.files.get(str(original))
        if original_file is None:
            raise MemberRefused("a hard link to a file that did not arrive")
        source = os.open(str(original), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.top)
        try:
            self._write(source, 0, original_file.bytes, place, member)
        finally:
            os.close(source)

    def _write(self, source: int, offset: int, size: int, place: PurePosixPath, member: Member) -> None:
        if size > self.free:
            self.problems.append(
                "The outputs unpack to more bytes than fit on the disk. The files that did not fit are listed."
            )
            raise MemberRefused(f"no room for its {size:,} bytes")
        parent = self._folder(place)
        try:
            _make_way(place.name, parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target: int | None = None
            try:
                target = os.open(place.name, flags, 0o755 if member.executable else 0o644, dir_fd=parent)
                self.free -= size
                _transfer(source, offset, size, target)
                os.fchmod(target, 0o755 if member.executable else 0o644)
                if member.mtime is not None:
                    os.utime(target, (member.mtime, member.mtime))
            except BaseException as error:
                # A signal can come after the file exists and before its descriptor has a name.
                if target is not None or not isinstance(error, OSError):
                    with suppress(FileNotFoundError):
                        os.unlink(place.name, dir_fd=parent)
                raise
            finally:
                if target is not None:
                    os.close(target)
        finally:
            os.close(parent)
        self.files[str(place)] = fetched_file = FetchedFile(path=str(place), bytes=size)
        self.tell(fetched_file)

    def _link(self, link: _Link) -> None:
        parent = self._folder(link.place)
        try:
            _make_way(link.place.name, parent)
            os.symlink(link.text, link.place.name, dir_fd=parent)
        finally:
            os.close(parent)

    def _folder(self, place: PurePosixPath) -> int:
        if self.folders >= self.most:
            raise MemberRefused(f"more than {self.most:,} folders")
        try:
            parent, created = folder_below(self.top, place.parent.parts)
        except NotADirectoryError:
            raise MemberRefused("its folder leads out by a link, or is a file") from None
        self.folders += created
        return parent


def _make_way(name: str, folder: int) -> None:
    """Remove a file that an earlier run left under this name. Raises MemberRefused, OSError."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        raise MemberRefused("a folder has its name")
    os.unlink(name, dir_fd=folder)


def _transfer(source: int, offset: int, size: int, target: int) -> None:
    while size > 0:
        chunk = os.pread(source, min(size, CHUNK_BYTES), offset)
        if not chunk:
            raise MemberRefused("its end is missing")
        offset, size = offset + len(chunk), size - len(chunk)
        while chunk:
            chunk = chunk[os.write(target, chunk) :]


def _reason(error: OSError) -> str:
    return f"could not be written ({error.strerror or type(error).__name__})"
