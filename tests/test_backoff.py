"""The pauses between tries, and the tries themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cvl_ci.backoff import Backoff, Pace
from tests.support.fakes import FakeClock


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


def pace(clock: FakeClock, *, within: float = 10.0) -> Pace:
    return Pace(every_seconds=3.0, within_seconds=within, sleep=clock.sleep, now=clock.monotonic)


def test_looks_come_at_a_fixed_pace_and_one_comes_after_the_last_pause() -> None:
    clock = FakeClock(time=0.0)
    assert [clock.time for _ in pace(clock).ticks()] == [0.0, 3.0, 6.0, 9.0, 12.0]


@pytest.mark.parametrize("within", [0.0, -1.0])
def test_there_is_one_look_without_any_time(within: float) -> None:
    clock = FakeClock(time=0.0)
    assert [clock.time for _ in pace(clock, within=within).ticks()] == [0.0]


def test_looks_of_a_longer_work_end_with_it_and_slow_looks_count() -> None:
    clock, seen = FakeClock(time=5.0), list[float]()
    for _ in pace(clock).ticks(until=13.0):
        seen.append(clock.time)
        clock.sleep(2.0)
    assert seen == [5.0, 10.0, 15.0]


def test_a_loop_that_has_its_answer_pauses_no_more() -> None:
    clock = FakeClock(time=0.0)
    for _ in pace(clock, within=1e9).ticks():
        if clock.time >= 6.0:
            break
    assert clock.time == 6.0
