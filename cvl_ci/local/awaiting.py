"""Await work that a thread does, so that a cancelled await stops the work and waits for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from cvl_ci.local.interruption import Interruption

Value = TypeVar("Value")


async def awaited(work: Callable[[Interruption], Value]) -> Value:
    """Return what the work returns. Raise CancelledError if the await is cancelled or another thread stops the work."""
    interruption = Interruption()
    future = asyncio.ensure_future(asyncio.to_thread(_result, work, interruption))
    try:
        results = await asyncio.shield(future)
    except asyncio.CancelledError:
        interruption.stop()
        await asyncio.wait([future])
        raise
    if not results:
        raise asyncio.CancelledError
    return results[0]


def _result(work: Callable[[Interruption], Value], interruption: Interruption) -> tuple[Value, ...]:
    """Return the result alone in a tuple; an empty one after a stop.

    A KeyboardInterrupt in a task would end the caller's event loop with all its other tasks.
    Source: https://docs.python.org/3/library/asyncio-exceptions.html, and Task.__step of CPython's asyncio/tasks.py.
    """
    try:
        return (work(interruption),)
    except KeyboardInterrupt:
        return ()
