"""A machine that is gone while the others work is missed: by two looks in a row, and never by a provider's silence."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from cvl_ci.engine import node_watch
from cvl_ci.engine.node_watch import Roll


def called(*shown: int | Exception) -> list[int]:
    """What is said of a cluster of two of which the provider shows so many, look for look; then it is over."""
    looks: Iterator[int | Exception] = iter(shown)
    said: list[int] = []

    def there() -> int:
        found = next(looks, None)
        if found is None:
            roll.stop()
            return 2
        if isinstance(found, Exception):
            raise found
        return found

    roll = Roll(there, nodes=2, lost=said.append, interval_seconds=0.001)
    roll.start()
    roll.join(60)
    assert not roll.is_alive()
    return said


def test_one_that_is_gone_is_told_once() -> None:
    assert called(2, 2, 1, 1, 1, 1) == [1]


def test_a_listing_that_is_a_moment_behind_is_no_loss() -> None:
    assert called(2, 1, 2, 1, 2) == []


def test_a_provider_that_does_not_answer_says_nothing_of_machines() -> None:
    assert called(2, OSError("throttled"), OSError("throttled"), OSError("throttled"), 2) == []


def test_a_question_that_hangs_does_not_end_the_watch() -> None:
    hangs, said, asked = threading.Event(), list[int](), list[int]()

    def there() -> int:
        asked.append(1)
        if len(asked) == 1:
            hangs.wait()
        return 1

    roll = Roll(there, nodes=2, lost=said.append, interval_seconds=0.001, answer_seconds=0.5)
    roll.start()
    roll.join(60)
    hangs.set()
    assert not roll.is_alive() and said == [1]


def test_a_single_machine_is_asked_for_too_and_its_watch_ends_with_the_stream() -> None:
    gone = threading.Event()
    with node_watch.watched(lambda: 0, nodes=1, lost=lambda _: gone.set(), interval_seconds=0.001):
        assert gone.wait(60)
    for thread in threading.enumerate():
        if thread.name == "roll":
            thread.join(60)
            assert not thread.is_alive()
