"""A run in another thread is stopped by the KeyboardInterrupt that Ctrl-C raises in the main thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import pytest

from cvl_ci.local.interruption import Interruption

PATIENCE = 60.0
"""Seconds after which a test gives up. Each wait is for an event."""


def run(work: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
    """Start work in a thread. The list gets the error that ended it."""
    errors: list[BaseException] = []

    def catch() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=catch)
    thread.start()
    return thread, errors


def test_a_stop_ends_a_wait_of_another_thread() -> None:
    interruption, waiting, inbox = Interruption(), threading.Event(), queue.Queue[str]()

    def work() -> None:
        with interruption:
            waiting.set()
            while True:
                try:
                    inbox.get(timeout=0.05)
                except queue.Empty:
                    continue

    thread, errors = run(work)
    assert waiting.wait(PATIENCE)
    interruption.stop()
    interruption.stop()
    thread.join(PATIENCE)
    assert [type(error) for error in errors] == [KeyboardInterrupt]


def test_a_stop_before_the_beginning_lets_nothing_begin() -> None:
    interruption = Interruption()
    interruption.stop()
    with pytest.raises(KeyboardInterrupt), interruption:
        pytest.fail("it began")


def test_a_stop_after_the_part_that_can_be_stopped_changes_nothing() -> None:
    interruption, closed, stopped = Interruption(), threading.Event(), threading.Event()
    steps: list[str] = []

    def work() -> None:
        with interruption:
            interruption.close()
            closed.set()
            assert stopped.wait(PATIENCE)
            steps.append("released")

    thread, errors = run(work)
    assert closed.wait(PATIENCE)
    interruption.stop()
    stopped.set()
    thread.join(PATIENCE)
    assert (steps, errors) == (["released"], [])


def test_a_stop_reaches_one_thread_of_several() -> None:
    stops = [Interruption() for _ in range(3)]
    ready, release = threading.Barrier(4), threading.Event()

    def work(interruption: Interruption) -> Callable[[], None]:
        def wait() -> None:
            with interruption:
                ready.wait(PATIENCE)
                while not release.wait(0.02):
                    pass

        return wait

    threads = [run(work(item)) for item in stops]
    ready.wait(PATIENCE)
    stops[1].stop()
    threads[1][0].join(PATIENCE)
    assert not threads[1][0].is_alive()
    release.set()
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert [len(errors) for _, errors in threads] == [0, 1, 0]
