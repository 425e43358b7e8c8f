"""Names that the service, every file system and a second attempt accept: forbidden characters become a low line."""

from __future__ import annotations

import hashlib
import re

_IN_NAMES = re.compile(r'["<>|*?:\\/\x00-\x1f\x7f\ud800-\udfff]')
_IN_PATHS = re.compile(r'["<>|*?:\\\x00-\x1f\x7f\ud800-\udfff]')
LONGEST = 200


def artifact_name(name: str, *, leg: str, attempt: int, again: int = 1) -> str:
    """One per leg of a matrix and attempt of a run; `again`: how often this one was asked for.

    Two legs that differ only in what is replaced or cut keep different names.
    """
    parts = [_safe(name) or "artifact", *([_safe(leg)] if leg else []), f"attempt{attempt}"]
    return "-".join([*parts, *([str(again)] if again > 1 else [])])


def entry_name(path: str, *, taken: set[str]) -> str:
    """A path inside the zip, different from those taken; takes it."""
    wanted = _IN_PATHS.sub("_", path)
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def _safe(text: str) -> str:
    replaced = _IN_NAMES.sub("_", text).strip(" .")
    if replaced == text and len(text) <= LONGEST // 2:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{replaced[: LONGEST // 2 - 9]}-{digest}"
