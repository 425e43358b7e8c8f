"""Decide which archives to fetch, and how long to wait for them: names, sizes and speed are a machine's claims."""

from __future__ import annotations

import math
import os
import re
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvl_ci.engine.fetch import member_paths, unpack
from cvl_ci.engine.node_commands import REST
from cvl_ci.inputs.patterns import Pattern, patterns
from cvl_ci.planning.trials import NAME

PACK_SECONDS = 900.0
"""The machines may pack for this long, while they are billed."""
STALL_SECONDS = 120.0
"""A transfer that brings less than STALL_BYTES in this time is given up."""
STALL_BYTES = 1 << 20
MATCH_SECONDS, MOST_STARS = 5.0, 3
LOOK_SECONDS = 1.0
SLACK_BYTES = 1 << 20
"""Bytes that a node may send in addition to its announcement: a login shell may print first."""

_ARCHIVE = re.compile(r"archive (?P<name>[a-z0-9.-]{1,40}) (?P<size>[0-9]{1,15})")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Archives to fetch from each node: names and sizes, in the order of the ranks. `problems`: the others, and why."""

    nodes: list[list[tuple[str, int]]]
    problems: list[str]

    @property
    def bytes(self) -> int:
        return sum(size for node in self.nodes for _, size in node)


def archives_to_fetch(answers: Sequence[Mapping[str, Any]], *, room: int) -> Wanted:
    """Read the nodes' announcements. An archive without room is not fetched; smaller ones are."""
    nodes: list[list[tuple[str, int]]] = []
    problems = []
    for rank, answer in enumerate(answers):
        lines = str(answer["out"]).splitlines()[-2 * unpack.MOST_ARCHIVES :]
        announced = {match["name"]: int(match["size"]) for line in lines if (match := _ARCHIVE.fullmatch(line.strip()))}
        chosen = []
        for name, size in list(announced.items())[: unpack.MOST_ARCHIVES]:
            if not unpack.archive_name(name):
                continue
            if size > room:
                problems.append(
                    f"{name} of node {rank} has {size:,} bytes and only {room:,} fit here, so it was not "
                    "fetched. Name fewer files with `outputs`."
                )
                continue
            room -= size
            chosen.append((name, size))
        nodes.append(chosen)
        if answer["code"]:
            problems.append(f"Not all could be packed on node {rank}: {str(answer['err']).strip()[-300:]}.")
    return Wanted(nodes=nodes, problems=problems)


def folder() -> tempfile.TemporaryDirectory[str]:
    """Create the folder for archives. SkyPilot puts its path into a shell's line without quotes."""
    usual = tempfile.gettempdir()
    parent = None if shlex.quote(usual) == usual else "/tmp"  # noqa: S108  a new private folder of a random name
    return tempfile.TemporaryDirectory(prefix="cvl-ci-fetch-", dir=parent, ignore_cleanup_errors=True)


def room(archives: Path) -> int:
    """Return how many bytes of archives fit, if they are unpacked next to where they arrive."""
    free = unpack.room(archives)
    return free // 2 if archives.stat().st_dev == Path.cwd().stat().st_dev else free


@dataclass(kw_only=True)
class TransferLimit:
    """Limit of the wait for a transfer: it ends at once if the transfer stalls or brings too much."""

    archives: Path
    until: float
    most: int = 0
    why: str = "the run's time or money was over first"
    _looked_at: float = -math.inf
    _fast_at: float = field(default_factory=time.monotonic)
    _fast_bytes: int = 0
    _fast_files: int = 0

    def __call__(self) -> float:
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return self.until
        self._looked_at = now
        count, files = arrived(self.archives)
        if count < self._fast_bytes:  # a file begins again after its connection broke
            self._fast_at, self._fast_bytes = now, count
        if count > self.most:
            self.why = "a machine sent more than it had packed"
            self.until = -math.inf
        elif count - self._fast_bytes >= STALL_BYTES or files > self._fast_files:
            self._fast_at, self._fast_bytes, self._fast_files = now, count, files
        elif now - self._fast_at > STALL_SECONDS:
            self.why = f"a machine sent less than {STALL_BYTES >> 20} MiB in {STALL_SECONDS:.0f} s"
            self.until = -math.inf
        return self.until


def packing(archives: Path, *, end: float) -> TransferLimit:
    """Return how long to wait until the machines have packed. `end`: the run's own end."""
    limit = time.monotonic() + PACK_SECONDS
    if limit >= end:
        return TransferLimit(archives=archives, until=end)
    return TransferLimit(
        archives=archives, until=limit, why=f"packing took longer than {PACK_SECONDS / 60:.0f} minutes"
    )


def arrived(archives: Path) -> tuple[int, int]:
    """Return the number of bytes that arrived, and the number of files. A file may vanish when it begins again."""
    sizes = []
    for parent, _, names in os.walk(archives):
        for name in names:
            if not name.endswith(REST):
                with suppress(FileNotFoundError):
                    sizes.append(Path(parent, name).lstat().st_size)
    return sum(sizes), len(sizes)


def unmatched(globs: Sequence[str], paths: Sequence[str], *, directory: str) -> list[str]:
    """Return the globs that matched no file, by the files' places in the outputs folder.

    A machine chose the names, and a glob of many stars needs long on some of them. Such a glob is never returned. Nor
    is a glob that is undecided after MATCH_SECONDS.
    """
    places = [_on_the_machine(path, directory).encode() for path in paths]
    end = time.process_time() + MATCH_SECONDS
    is_matched: dict[str, bool] = {}
    for pattern in patterns(globs, directory=directory):
        if not pattern.takes_out and pattern.text in globs:
            is_slow = len(re.findall(r"\*+", pattern.text)) > MOST_STARS
            is_matched[pattern.text] = (
                is_matched.get(pattern.text, False) or is_slow or _any_matches(pattern, places, end)
            )
    return [text for text, matched in is_matched.items() if not matched]


def _any_matches(pattern: Pattern, places: Sequence[bytes], end: float) -> bool:
    return any(time.process_time() > end or pattern.matches(place) for place in places)


def _on_the_machine(path: str, directory: str) -> str:
    parts = path.split("/")
    if re.fullmatch(r"node-[0-9]+", parts[0]):
        parts = parts[1:]
    if parts and NAME.fullmatch(parts[0]):
        parts = parts[1:]
    if parts and parts[0] in {member_paths.ROOT, member_paths.WORK}:
        return "/".join(parts[1:])
    return "/".join([*(step for step in directory.split("/") if step not in {"", "."}), *parts])
