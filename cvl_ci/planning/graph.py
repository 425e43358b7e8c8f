"""Rings of jobs that need each other. Pure: a job here is an id, and its needs are ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def cycle(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return one ring of ids that need each other, in order; empty without one. It does not recurse."""
    remaining = _without_ends({name: [one for one in wants if one in needs] for name, wants in needs.items()})
    if not remaining:
        return ()
    path = [next(iter(remaining))]
    while True:
        following = remaining[path[-1]][0]
        if following in path:
            return tuple(path[path.index(following) :])
        path.append(following)


def _without_ends(graph: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the ids from which a ring can be reached, each with such needs alone."""
    remaining = dict(graph)
    while True:
        ends = {name for name, wants in remaining.items() if not wants}
        if not ends:
            return remaining
        remaining = {
            name: [one for one in wants if one not in ends] for name, wants in remaining.items() if name not in ends
        }
