"""Find the attempt of each machine that a provider or an API server remembers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cvl_ci.model.launch import Attempt
from cvl_ci.model.ledger import Life, Memory

SLACK_SECONDS = 5.0
"""A provider's clock, in whole seconds, may be this much before ours."""


def named(attempts: Sequence[Attempt], memory: Memory) -> Sequence[Attempt]:
    """Return the attempts, each with the machine and the price that an API server's own record has for it.

    The server's answers during a launch name most of them. A run that was killed before such an answer has a bound.
    """
    by_attempt = lives_by_attempt(attempts, memory.requested)
    return [_named(attempt, by_attempt.get(number, ())) for number, attempt in enumerate(attempts, 1)]


def lives_by_attempt(attempts: Sequence[Attempt], lives: Iterable[Life]) -> Mapping[int, list[Life]]:
    """Return the machines of each attempt, by number. No machine is left out, even if none of the requests fits it."""
    by_number: dict[int, list[Life]] = {}
    for life in lives:
        if attempts:
            number = max(range(1, len(attempts) + 1), key=lambda place: _fit(attempts[place - 1], life, place))
            by_number.setdefault(number, []).append(life)
    return by_number


def _named(attempt: Attempt, lives: Sequence[Life]) -> Attempt:
    if lives and attempt.requested_at <= lives[-1].start <= (attempt.ended_at or lives[-1].start):
        attempt = replace(attempt, requested_at=lives[-1].start)  # our own moment has the server's queue in it
    requested = next((life for life in lives if life.hourly_usd), None)
    if not attempt.is_bound or requested is None:
        return attempt
    facts = {name: getattr(requested, name) for name in ("region", "instance_type", "spot", "hourly_usd")}
    return replace(attempt, is_bound=False, **facts)


def _fit(attempt: Attempt, life: Life, place: int) -> tuple[bool, bool, bool, int]:
    """Return how well a machine fits a request: the same place, its type, and the last request before its beginning."""
    return (
        (attempt.cloud, attempt.region) == (life.cloud, life.region),
        attempt.instance_type == life.instance_type,
        attempt.requested_at <= life.start + SLACK_SECONDS,
        place,
    )
