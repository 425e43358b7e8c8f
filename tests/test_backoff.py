"""The pauses between tries, and the tries themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cvl_ci.backoff import Backoff


def failing(times: int) -> tuple[Callable[[], str], list[int]]:
    """A call that fails so often, and its count."""
    calls: list[int] = []

    def do() -> str:
        calls.append(len(calls))
        if len(calls) <= times:
            raise OSError(str(len(calls)))
        return "done"

    return do, calls


def backoff(slept: list[float], *, jitter: float = 0.0, chance: float = 0.0) -> Backoff:
    return Backoff(
        tries=4, first_seconds=1.0, longest_seconds=3.0, jitter=jitter, sleep=slept.append, chance=lambda: chance
    )


@pytest.mark.parametrize(("failures", "slept"), [(0, []), (1, [1.0]), (3, [1.0, 2.0, 3.0])])
def test_the_pauses_grow_to_their_limit(failures: int, slept: list[float]) -> None:
    do, calls = failing(failures)
    results: list[float] = []
    waiting = backoff(results)
    assert waiting.run(do, pause=lambda _, attempt: waiting.seconds(attempt)) == "done"
    assert (results, len(calls)) == (slept, failures + 1)


def test_the_last_failure_is_raised_without_a_pause_after_it() -> None:
    do, calls = failing(99)
    slept: list[float] = []
    with pytest.raises(OSError, match="4"):
        backoff(slept).run(do, pause=lambda *_: 0.5)
    assert (slept, len(calls)) == ([0.5] * 3, 4)


def test_a_failure_that_will_not_get_better_is_raised_at_once() -> None:
    do, calls = failing(99)
    slept: list[float] = []
    with pytest.raises(OSError, match="1"):
        backoff(slept).run(do, pause=lambda *_: None)
    assert (slept, len(calls)) == ([], 1)


def test_chance_spreads_the_callers_and_a_server_may_ask_for_more_or_for_none() -> None:
    many = [backoff([], jitter=0.5, chance=chance).seconds(1) for chance in (0.0, 0.5, 0.999)]
    assert many == [2.0, 2.5, pytest.approx(2.999)]
    waiting = backoff([], jitter=0.5, chance=0.5)
    assert waiting.seconds(0, requested=2.0) == 2.25
    assert waiting.seconds(0, requested=1e9) == 3.25, "a server that asks for years gets no more than the limit"
    assert waiting.seconds(0, requested=0.0) == 0.0
