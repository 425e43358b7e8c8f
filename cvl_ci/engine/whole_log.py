"""Compare a job's log with its stream: whether the stream delivered all of it, and which lines it missed.

Values and text, no SDK. SkyPilot 0.14.1 ends the stream half a second after the job, when Ray's forwarder may still be
behind. Ray also cuts a line that it reads during its writing. So each node stores its log itself
(machine/supervise.py), with a checksum.
"""

from __future__ import annotations

import itertools
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SEGMENT_BYTES = 33 << 20
"""The limit of each of a node's two files: a little more than an honest machine writes into one."""
MOST_LINES = 1_000_000
"""The lines that are compared one by one; of a longer log only its last lines."""


@dataclass(frozen=True, kw_only=True)
class LogSum:
    """A node's report about one of its logs: its characters without line ends, and the lines that it dropped."""

    characters: int
    crc: int
    dropped_lines: int = 0


@dataclass(kw_only=True)
class StreamedLog:
    """The streamed part of one log: the same sum, and a number for each line."""

    characters: int = 0
    crc: int = 0
    lines_before: int = 0
    """The lines whose numbers are dropped."""
    _lines: array[int] = field(default_factory=lambda: array("Q"))
    _line: tuple[int, int] | None = None

    def line(self, text: str) -> None:
        self._end_line()
        self._line = (0, 0)
        self.rest(text)

    def rest(self, text: str) -> None:
        """Add the next piece of the same line, which was too long for one piece."""
        data, length = _bytes(text)
        crc, so_far = self._line or (0, 0)
        self._line = zlib.crc32(data, crc), so_far + length
        self.characters += length
        self.crc = zlib.crc32(data, self.crc)

    def is_whole(self, log_sum: LogSum | None) -> bool:
        return log_sum is not None and (self.characters, self.crc) == (log_sum.characters, log_sum.crc)

    @property
    def lines(self) -> array[int]:
        self._end_line()
        return self._lines

    def _end_line(self) -> None:
        if self._line is not None:
            self._lines.append(_number(*self._line))
            self._line = None
        if len(self._lines) > 2 * MOST_LINES:
            del self._lines[:MOST_LINES]
            self.lines_before += MOST_LINES


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Lines that the stream did not deliver. `left_out`: how many more the node has dropped."""

    lines: tuple[str, ...] = ()
    left_out: int = 0


def missed(streams: Sequence[StreamedLog], *, stored: bytes, dropped: int) -> Missed:
    """Compare line by line, in any order and with any neighbours in the stream. `kept`: the end of the node's log.

    A line that the stream cut in two counts as missed: a line printed twice is better than a missing line.
    """
    text = stored.decode("utf-8", "replace").split("\n")
    lines = text if text[-1] else text[:-1]
    brought = array("Q")
    for stream in streams:
        # Lines before the node's first stored line do not belong to its log, and may look like a line of it.
        brought.extend(stream.lines[max(0, dropped - stream.lines_before) :])
    same = sum(1 for _ in itertools.takewhile(_is_same, zip(map(_of, lines), brought, strict=False)))
    counts = Counter(brought[same:])
    missing = []
    for line in lines[same:]:
        number = _of(line)
        if counts[number] > 0:
            counts[number] -= 1
        else:
            missing.append(line.removesuffix("\r"))
    came = sum(stream.lines_before + len(stream.lines) for stream in streams)
    return Missed(lines=tuple(missing), left_out=max(0, dropped - came))


def incomplete(
    received: Mapping[tuple[str, str], StreamedLog], sums: Sequence[Mapping[str, LogSum]], *, has_ended: Sequence[bool]
) -> dict[tuple[int, str], list[StreamedLog]]:
    """Return each log that did not arrive completely, by rank and name, with the streamed part.

    `ended`: which nodes have reported their end. For the other nodes a log without a sum counts too. SkyPilot marks a
    line of setup with an address and not with a rank. So a log is complete if any of the streams has its sum.
    """
    partial = {}
    for rank, sums_of_node in enumerate(sums):
        without_sum = set() if has_ended[rank] else {name for name, _ in received}
        for name in sorted({*sums_of_node, *without_sum}):
            own = [stream for (other, key), stream in received.items() if other == name and key in {str(rank), ""}]
            streams = own or [stream for (other, _), stream in received.items() if other == name]
            if name in sums_of_node and sums_of_node[name].characters == 0:
                continue
            if not any(stream.is_whole(sums_of_node.get(name)) for stream in streams):
                matching = [stream for stream in streams if not any(stream.is_whole(other.get(name)) for other in sums)]
                partial[rank, name] = matching
    return partial


def read(folder: Path) -> bytes:
    """Return the node's two files as one, up to their size limit."""
    data = b""
    for name in ("old", "new"):
        path = folder / name
        # A machine may send links, which would lead to files of this computer.
        if path.is_file() and not path.is_symlink() and not folder.is_symlink():
            with path.open("rb") as file:
                data += file.read(SEGMENT_BYTES)
    return data


def _is_same(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def _of(line: str) -> int:
    data, length = _bytes(line)
    return _number(zlib.crc32(data), length)


def _number(crc: int, length: int) -> int:
    return crc << 32 | length & 0xFFFFFFFF


def _bytes(text: str) -> tuple[bytes, int]:
    characters = text.replace("\r", "")
    return characters.encode("utf-8", "replace"), len(characters)
