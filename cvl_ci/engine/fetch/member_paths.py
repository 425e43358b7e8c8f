"""Choose the place of an archive's member in the outputs folder, by the name that a machine gave it. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

from cvl_ci.engine.fetch.tarball import Member, MemberKind

WORK = "cvl-work"
"""The folder for files that the job wrote to CVL_WORK_DIR."""
ROOT = "cvl-root"
"""The folder for changed files of the staged tree outside the example."""

FROM_ROOT = "/./"
"""The beginning of a link's target that was absolute on the machine and lies in the packed folder (collect.sh)."""

LONGEST_PATH = 1_000
"""Bytes of a file's path."""
LONGEST_PART = 255
"""Bytes of one part of a path, as file systems limit it."""
DEEPEST = 64
"""Folders above a file."""
SHOWN = 120
"""Characters of a name in a refusal."""


class MemberRefused(Exception):
    """Refusal of one member, with the reason."""


def readable(name: bytes) -> str:
    """Return a machine's name as text that any system can write: a byte that is not UTF-8 becomes `%E9`."""
    return "".join(
        f"%{ord(letter) - 0xDC00:02X}" if "\udc80" <= letter <= "\udcff" else letter
        for letter in name.decode("utf-8", "surrogateescape")
    )


def path_of(member: Member, name: str) -> PurePosixPath:
    """Return the path that a member may have below its root. Raise MemberRefused for unsafe names.

    Unsafe are paths out of the folder (CVE-2007-4559) and characters that a terminal obeys.
    """
    if member.problem:
        raise MemberRefused(member.problem)
    if name.startswith("/") or ".." in name.split("/"):
        raise MemberRefused("leads out of the outputs folder")
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in name):
        raise MemberRefused("control characters in its name")
    if member.kind is MemberKind.OTHER:
        raise MemberRefused(MemberKind.OTHER.value)
    path = PurePosixPath(name)
    if path == PurePosixPath():
        raise MemberRefused("has no name")
    return path


def inside(folder: PurePosixPath, target: str) -> PurePosixPath:
    """Return the target of a link on the machine, below its root. Raises MemberRefused.

    The result has no `..`, and a link is written with all of its `..` first. So it goes up through real folders alone,
    and no other link can redirect it.
    """
    is_from_root = target.startswith(FROM_ROOT)
    parts = [] if is_from_root else list(folder.parts)
    out = f"a link that leads out (to {short(target)!r})"
    if (target.startswith("/") and not is_from_root) or not target or "\0" in target:
        raise MemberRefused(out)
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise MemberRefused(out)
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    place = PurePosixPath(*parts)
    if len(str(place).encode()) > LONGEST_PATH or len(place.parts) > DEEPEST:
        raise MemberRefused(out)
    return place


def place_of(path: PurePosixPath, kind: str, directory: str) -> PurePosixPath:
    if kind == "work":
        return PurePosixPath(WORK) / path
    inner = PurePosixPath(directory)
    if inner == PurePosixPath() or path.is_relative_to(inner):
        return path.relative_to(inner)
    return PurePosixPath(ROOT) / path


def short(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}… ({len(name):,} characters)"
