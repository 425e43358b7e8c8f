"""Find the checkpoints in a folder that are complete: at rest, whole by their own format, and of no passing name.

A program for the machine's own Python. A checkpoint is one file, or a folder of files such as `checkpoint-500/`.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Sequence
from typing import NamedTuple

ZIP_END = b"PK\x05\x06"
"""The last record of a zip file, which torch.save writes last: APPNOTE.TXT of PKWARE, 4.3.16."""
_OTHER_CONTENT = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""The errors of a file that the job wrote with other content than its format has."""
ZIP_TAIL = 66_000
"""Bytes from the end in which that record begins: it ends with a comment of at most 64 KiB."""
LARGEST_INDEX = 64 << 20
_PASSING = re.compile(
    r"^(?:\.|tmp[-_.])|(?:\.tmp|\.temp|\.part|\.partial|\.incomplete|~)$|\.tmp[-_.]\w+$", re.IGNORECASE
)
_STEP = re.compile(r"(?:global_?step|step|iter|checkpoint|ckpt)[-_=]?(\d{1,15})", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,15})(?!.*\d)")
_TRAINER = frozenset({"optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth"})


class FileState(NamedTuple):
    """The state of one file. A change of any part is a change of the file."""

    size: int
    mtime_ns: int
    inode: int


def file_states(folder: str) -> dict[str, FileState]:
    """Return the state of each plain file below a folder. A link is none: it may lead anywhere."""
    states: dict[str, FileState] = {}
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_passing(name)]
        for name in names:
            path = os.path.join(above, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if not os.path.islink(path) and os.path.isfile(path):
                relative = os.path.relpath(path, folder).replace(os.sep, "/")
                states[relative] = FileState(status.st_size, status.st_mtime_ns, status.st_ino)
    return states


def grouped(paths: Sequence[str], roots: Sequence[str]) -> dict[str, list[str]]:
    """Group files into checkpoints. `roots`: the folders or files that match the user's glob."""
    units: dict[str, list[str]] = {}
    for root in sorted(set(roots)):
        members = sorted(path for path in paths if _belongs(path, root))
        if members:
            units[root] = members
    return units


def is_passing(path: str) -> bool:
    """Return whether the last part of a path is a name that a writer uses until its rename."""
    return _PASSING.search(path.rpartition("/")[2]) is not None


def is_whole(folder: str, name: str, paths: Sequence[str]) -> bool:
    """Return whether each file is whole by its format, and a folder has all the files that its kind must have."""
    if any(is_passing(path) and not path.endswith("/.metadata") for path in paths):
        return False
    if not all(_is_whole_file(os.path.join(folder, path)) for path in paths):
        return False
    members = {path[len(name) + 1 :] for path in paths if path != name}
    if any(member.endswith(".distcp") for member in members) and ".metadata" not in members:
        return False  # torch.distributed.checkpoint writes it after all shards
    if members & _TRAINER and "trainer_state.json" not in members:
        return False  # transformers/trainer.py writes it last
    indexes = [member for member in members if member.endswith(".index.json")]
    return all(_shards(os.path.join(folder, name, index)) <= members for index in indexes)


def step_of(name: str) -> int:
    """Return the step in a name; a number after a word such as `step` comes first. Without one: -1."""
    words = _STEP.findall(name)
    numbers = words or _NUMBER.findall(name)
    return int(numbers[-1]) if numbers else -1


def _belongs(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def _is_whole_file(path: str) -> bool:
    """Return whether a file of a known format ends where its format says. Other files pass."""
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            head = file.read(8)
            if path.endswith(".safetensors"):
                return len(head) == 8 and _safetensors_size(file, struct.unpack("<Q", head)[0]) == size
            if head[:4] == b"PK\x03\x04":
                file.seek(max(0, size - ZIP_TAIL))
                return ZIP_END in file.read()
            return size > 0
    except (OSError, *_OTHER_CONTENT):
        return False


def _safetensors_size(file: object, length: int) -> int:
    """Return the size that the header of a safetensors file tells: its own length, and the end of the last tensor."""
    if length > LARGEST_INDEX:
        raise ValueError(length)
    header = json.loads(file.read(length))  # type: ignore[attr-defined]
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return 8 + length + max(ends, default=0)


def _shards(path: str) -> set[str]:
    """Return the files that an index of shards names. An index that cannot be read names an impossible file."""
    try:
        with open(path, encoding="utf-8") as file:
            return set(json.loads(file.read(LARGEST_INDEX))["weight_map"].values())
    except (OSError, *_OTHER_CONTENT):
        return {"/"}
