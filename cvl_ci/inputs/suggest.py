"""What somebody may have meant: a mistake that names the right word is half repaired. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def folded(word: str) -> str:
    """How names are compared: `-` and `_` are mixed up as often as small and big letters."""
    return word.lower().replace("-", "_")


def similar(word: str, names: Iterable[str], *, at_most: int = 3) -> tuple[str, ...]:
    """Return the known words that look like this one, the most similar first."""
    by_folded: dict[str, str] = {}
    for name in names:
        by_folded.setdefault(folded(name), name)
    matches = difflib.get_close_matches(folded(word), by_folded, n=at_most, cutoff=0.6)
    return tuple(by_folded[name] for name in matches)
