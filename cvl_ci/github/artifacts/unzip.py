"""A zip that anybody may have made, read and never unpacked: no name becomes a path, no size is believed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator

MOST_FILES = 2_000
MOST_BYTES = 256 << 20
"""Of all files together, as they come out: an archive can hold far more than it is."""
_PLAIN = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""What GitHub's clients write. Others ask for memory by a number that the archive holds."""
_ENCRYPTED = 0x1
_ENTRY = b"PK\x01\x02"
MOST_ENTRIES = 20_000
"""Of the list at its end, which is read whole before the first file is: each takes a kilobyte of memory."""


def files(
    archive: bytes, *, endings: tuple[str, ...], largest: int, say: Callable[[str], None]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files of these endings, in the order of their names.

    `say` gets a line for each skipped part.
    """
    if archive.count(_ENTRY) > MOST_ENTRIES:
        say(f"lists more than {MOST_ENTRIES:,} files")
        return
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = [one for one in opened.infolist() if one.filename.endswith(endings)]
            if len(entries) > MOST_FILES:
                say(f"holds more than {MOST_FILES:,} files; the rest was left out")
            yield from _contents(opened, sorted(entries, key=lambda one: one.filename)[:MOST_FILES], largest, say)
    except Exception as error:  # noqa: BLE001  zipfile raises what it comes across: struct.error, KeyError, ...
        say(f"is damaged ({type(error).__name__})")


def _contents(
    opened: zipfile.ZipFile, entries: list[zipfile.ZipInfo], largest: int, say: Callable[[str], None]
) -> Iterator[tuple[str, bytes]]:
    bytes_left = MOST_BYTES
    for one in entries:
        if one.compress_type not in _PLAIN or one.flag_bits & _ENCRYPTED:
            say("holds a file that is packed as no client of GitHub's packs")
            continue
        with opened.open(one) as stream:
            content = stream.read(min(largest, bytes_left) + 1)
        bytes_left -= len(content)
        if bytes_left < 0:
            say(f"unpacks to more than {MOST_BYTES >> 20} MiB; the rest was left out")
            return
        if len(content) > largest:
            say(f"holds a file of more than {largest >> 20} MiB")
            continue
        yield one.filename, content
