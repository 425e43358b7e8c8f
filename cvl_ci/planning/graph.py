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
    """Return the ids from which a ring can be reached, each with such needs alone. Its time grows with the needs."""
    needed_by: dict[str, list[str]] = {name: [] for name in graph}
    counts = {name: len(wants) for name, wants in graph.items()}
    for name, wants in graph.items():
        for one in wants:
            needed_by[one].append(name)
    ends = [name for name, count in counts.items() if not count]
    while ends:
        end = ends.pop()
        del counts[end]
        for name in needed_by[end]:
            counts[name] -= 1
            if not counts[name]:
                ends.append(name)
    return {name: [one for one in graph[name] if one in counts] for name in counts}
