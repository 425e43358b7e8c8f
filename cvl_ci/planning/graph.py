"""Rings of jobs that need each other. Pure: a job here is an id, and its needs are ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter


def cycle(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return one ring of ids that need each other, each before its need; empty without one."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        _, ring = error.args
        return tuple(ring[:0:-1])
    return ()
