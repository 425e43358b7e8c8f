"""Rings of jobs that need each other."""

from __future__ import annotations

import random

import pytest

from cvl_ci.planning import graph


@pytest.mark.parametrize(
    ("needs", "ring"),
    [
        ({}, ()),
        ({"a": [], "b": ["a"], "c": ["a", "b"]}, ()),
        ({"a": ["a"]}, ("a",)),
        ({"a": ["b"], "b": ["a"]}, ("a", "b")),
        ({"x": [], "a": ["x", "c"], "b": ["a"], "c": ["b"], "d": ["c"]}, ("a", "c", "b")),
        ({"a": ["unknown"]}, ()),
    ],
)
def test_a_ring_is_named_and_nothing_else(needs: dict[str, list[str]], ring: tuple[str, ...]) -> None:
    assert graph.cycle(needs) == ring


def test_a_long_chain_needs_no_deep_stack() -> None:
    needs = {str(number): [str(number - 1)] if number else [] for number in range(3000)}
    assert graph.cycle(needs) == ()
    needs["0"] = ["2999"]
    assert len(graph.cycle(needs)) == 3000


@pytest.mark.parametrize("seed", range(100))
def test_random_graphs_have_an_order_or_a_ring(seed: int) -> None:
    chance = random.Random(seed)
    names = [str(number) for number in range(chance.randint(1, 12))]
    needs = {name: [other for other in names if chance.random() < 0.15] for name in names}
    ring = graph.cycle(needs)
    assert all(following in needs[name] for name, following in zip(ring, (*ring[1:], *ring[:1]), strict=True))
    assert bool(ring) is not can_all_begin(needs)


def can_all_begin(needs: dict[str, list[str]]) -> bool:
    """Return whether each job has a turn: again and again, the jobs that need no waiting job are over."""
    waiting = set(needs)
    while ready := {name for name in waiting if not waiting & set(needs[name])}:
        waiting -= ready
    return not waiting
