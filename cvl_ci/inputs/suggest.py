"""What somebody may have meant: a mistake that names the right word is half repaired. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SLIP = 0.9
_SHORTEST_PART = 5


def folded(word: str) -> str:
    """How names are compared: `-` and `_` are mixed up as often as small and big letters."""
    return word.lower().replace("-", "_")


def similar(word: str, names: Iterable[str], *, at_most: int = 3, cutoff: float = 0.6) -> tuple[str, ...]:
    """Return the known words that look like this one, the most similar first."""
    by_folded: dict[str, str] = {}
    for name in names:
        by_folded.setdefault(folded(name), name)
    matches = difflib.get_close_matches(folded(word), by_folded, n=at_most, cutoff=cutoff)
    return tuple(by_folded[name] for name in matches)


def with_names(problem: str, names: Iterable[str], near: tuple[str, ...]) -> str:
    """Return the problem; where no name is near, with all names: a person then knows what there is."""
    all_names = ", ".join(names)
    return problem if near or not all_names else f"{problem}; there is {all_names}"


def nearly_same(word: str, names: Iterable[str], *, at_most: int = 3) -> tuple[str, ...]:
    """Return the names that differ from this word by a slip, or that it is a part of. For a verb that destroys.

    Any two leases look alike: to propose another one would end the wrong machine.
    """
    all_names = list(names)
    parts = [name for name in all_names if len(word) >= _SHORTEST_PART and folded(word) in folded(name)]
    slips = similar(word, all_names, at_most=at_most, cutoff=_SLIP)
    return tuple(dict.fromkeys([*slips, *parts]))[:at_most]
