"""A cancelled await stops the work of its thread, and never the event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cvl_ci.local.awaiting import awaited
from cvl_ci.local.interruption import Interruption

PATIENCE = 60.0
"""Seconds after which a test gives up. Each wait is for an event."""


def test_the_result_and_the_error_of_the_work_reach_the_caller() -> None:
    def fail(_: Interruption) -> int:
        raise ValueError("wrong")

    async def both() -> None:
        assert await awaited(lambda _: 7) == 7
        with pytest.raises(ValueError, match="wrong"):
            await awaited(fail)

    asyncio.run(both())


def test_a_cancel_before_the_part_that_can_be_stopped_leaves_the_loop_alive() -> None:
    has_begun, stopped = threading.Event(), threading.Event()
    steps: list[str] = []

    def work(interruption: Interruption) -> None:
        has_begun.set()
        assert stopped.wait(PATIENCE)
        steps.append("planned")
        with interruption:
            steps.append("launched")

    async def main() -> str:
        task = asyncio.create_task(awaited(work))
        await asyncio.to_thread(has_begun.wait, PATIENCE)
        task.cancel()
        asyncio.get_running_loop().call_soon(stopped.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        return "alive"

    assert asyncio.run(main()) == "alive"
    assert steps == ["planned"]


def test_a_stop_by_another_thread_cancels_the_await_alone() -> None:
    def work(interruption: Interruption) -> None:
        interruption.stop()
        with interruption:
            pytest.fail("it began")

    async def main() -> str:
        with pytest.raises(asyncio.CancelledError):
            await awaited(work)
        return "alive"

    assert asyncio.run(main()) == "alive"
