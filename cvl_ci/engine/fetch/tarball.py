"""Read the headers of a tar archive that a hostile machine may have made: every number has a bound.

Each step moves forward. tarfile is not used. It takes a negative size for a step backwards (endless on Python 3.11.7
and 3.13.0, CVE-2025-8194). It reads a name of any length into memory, and raises errors that no caller expects. GNU
tar's format, ustar and pax are read.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
LONGEST_HEADER = 64 << 10
"""Bytes of a name or of pax records that are read. The rest is skipped, and their member is refused."""
MOST_HEADERS = 500_000
"""The limit for one archive, including headers that only hold a long name."""
LATEST = 1 << 33
"""In seconds since the epoch. A later time of a file is not valid."""


class Damaged(Exception):
    """Error for an archive that cannot be read any further."""


class MemberKind(enum.Enum):
    FILE = "file"
    LINK = "link"
    HARD_LINK = "hard link"
    OTHER = "neither a file nor a link"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry. `problem`: why its header makes it unusable. `mtime`: None if it is not a valid time."""

    name: bytes
    kind: MemberKind
    target: bytes = b""
    size: int = 0
    mtime: float | None = None
    executable: bool = False
    offset: int = 0
    problem: str = ""


_KINDS = {
    b"0": MemberKind.FILE,
    b"\0": MemberKind.FILE,
    b"7": MemberKind.FILE,
    b"1": MemberKind.HARD_LINK,
    b"2": MemberKind.LINK,
}
_LONG_NAME, _LONG_TARGET, _PAX, _PAX_OLD, _PAX_GLOBAL = b"L", b"K", b"x", b"X", b"g"
_BEFORE_A_MEMBER = {_LONG_NAME, _LONG_TARGET, _PAX, _PAX_OLD, _PAX_GLOBAL}
_WITH_DATA = {b"0", b"\0", b"7"}
_WITHOUT_DATA = {b"1", b"2", b"3", b"4", b"5", b"6"}


def members(file: BinaryIO, *, length: int) -> Iterator[Member]:
    """Yield the members of an archive of `length` bytes, in its order. Raises Damaged, OSError."""
    position, extension = 0, _More()
    for _ in range(MOST_HEADERS):
        header = _header(file, position, length)
        if header is None:
            return
        kind, size = header[156:157], 0 if header[156:157] in _WITHOUT_DATA else _number(header[124:136])
        if kind not in _BEFORE_A_MEMBER:
            size = extension.size(size) if kind in _WITH_DATA else size
        data = position + BLOCK
        position = data + -(-size // BLOCK) * BLOCK
        if data + size > length:
            raise Damaged("it ends in the middle of a file")
        if kind in _BEFORE_A_MEMBER:
            extension.add(kind, _read(file, data, min(size, LONGEST_HEADER)), is_complete=size <= LONGEST_HEADER)
        else:
            yield extension.member(header, kind, size=size, offset=data)
            extension = _More()
    raise Damaged(f"it holds more than {MOST_HEADERS:,} entries")


class _More:
    """Headers before a member that replace fields of its own header."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._problem = ""

    def add(self, kind: bytes, content: bytes, *, is_complete: bool) -> None:
        if kind == _PAX_GLOBAL:
            return
        if not is_complete:
            self._problem = f"its name or its attributes take more than {LONGEST_HEADER >> 10} KiB"
            self._values.setdefault("path", content)
        elif kind in {_LONG_NAME, _LONG_TARGET}:
            self._values["path" if kind == _LONG_NAME else "linkpath"] = content.split(b"\0", 1)[0]
        else:
            self._values.update(_pax(content))

    def size(self, otherwise: int) -> int:
        """Return the size from pax, else the header's. Raises Damaged."""
        text = self._values.get("size")
        if text is None:
            return otherwise
        if not re.fullmatch(rb"[0-9]{1,19}", text):
            raise Damaged("the size of a file is not a number")
        return int(text)

    def member(self, header: bytes, kind: bytes, *, size: int, offset: int) -> Member:
        member_kind = _KINDS.get(kind, MemberKind.OTHER)
        problem = self._problem
        if any(name.startswith("GNU.sparse.") for name in self._values):
            problem = problem or "a sparse file, which cvl-ci's own tar never packs"
        return Member(
            name=self._values.get("path", _name(header)),
            kind=member_kind,
            target=self._values.get("linkpath", _text(header[157:257])),
            size=size,
            mtime=_time(self._values, header[136:148]),
            executable=bool(_lenient(header[100:108]) & 0o100),
            offset=offset,
            problem=problem,
        )


def _header(file: BinaryIO, position: int, length: int) -> bytes | None:
    """Return one header; None at the archive's end."""
    if position + BLOCK > length:
        raise Damaged("it has no end")
    header = _read(file, position, BLOCK)
    if len(header) < BLOCK:
        raise Damaged("it is shorter than it was")
    if not header.strip(b"\0"):
        return None
    rest = header[:148] + b" " * 8 + header[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)
    if _lenient(header[148:156]) not in {sum(rest), signed}:
        raise Damaged("a header has the wrong checksum")
    return header


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _number(field: bytes) -> int:
    """Read a size, which decides where the next header is. Raises Damaged."""
    if field[0] == 0x80:  # GNU's format for more than 8 GiB
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", text):
        raise Damaged("the size of a file is not a number")
    return int(text or b"0", 8)


def _lenient(field: bytes) -> int:
    text = field.split(b"\0", 1)[0].strip(b" ")
    return int(text, 8) if re.fullmatch(rb"[0-7]+", text) else 0


def _time(values: Mapping[str, bytes], field: bytes) -> float | None:
    text = values.get("mtime")
    if text is None:
        seconds = float(int.from_bytes(field[1:], "big")) if field[0] == 0x80 else float(_lenient(field))
    elif re.fullmatch(rb"[0-9]{1,20}(\.[0-9]{1,20})?", text):
        seconds = float(text)
    else:
        return None
    return seconds if math.isfinite(seconds) and 0 <= seconds < LATEST else None


def _name(header: bytes) -> bytes:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _pax(content: bytes) -> dict[str, bytes]:
    """Read records of the form `LENGTH KEY=VALUE\\n`. Raises Damaged."""
    records: dict[str, bytes] = {}
    at = 0
    while at < len(content) and content[at : at + 1] != b"\0":
        digits, space, _ = content[at : at + 8].partition(b" ")
        if not space or not re.fullmatch(rb"[0-9]{1,7}", digits):
            raise Damaged("the attributes of a file cannot be read")
        length = int(digits)
        record = content[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if length <= len(digits) + 1 or at + length > len(content) or not equals or not value.endswith(b"\n"):
            raise Damaged("the attributes of a file cannot be read")
        records[key.decode("ascii", "replace")] = value[:-1]
        at += length
    return records
