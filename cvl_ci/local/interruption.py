"""Stop a run that works in another thread, as Ctrl-C stops a run in the main thread.

Python delivers Ctrl-C to the main thread alone. A run in another thread gets the same KeyboardInterrupt here. It then
ends in the same way: the machine is released with proof.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import final


@final
class Interruption:
    """The stop of one run. `stop` has an effect once, between `__enter__` and `close`, or before both."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._is_requested = False
        self._is_closed = False

    def __enter__(self) -> Interruption:
        """Begin the part that can be stopped, in this thread. Raise KeyboardInterrupt after a stop before it."""
        with self._lock:
            if self._is_requested:
                raise KeyboardInterrupt
            self._thread = threading.get_ident()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the part that can be stopped. A stop that is not yet delivered has no effect."""
        with self._lock:
            self._is_closed = True
            if self._thread is not None:
                _raise_in(self._thread, None)
                self._thread = None

    def stop(self) -> None:
        """Raise KeyboardInterrupt in the run's thread, at its next step. A second call does nothing."""
        with self._lock:
            if self._is_requested or self._is_closed:
                return
            self._is_requested = True
            if self._thread is not None:
                _raise_in(self._thread, KeyboardInterrupt)


class RunsUnderWay:
    """The runs of one program, in several threads, so that their owner can stop them all and wait for their end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Interruption, threading.Event] = {}

    @contextmanager
    def including(self, interruption: Interruption) -> Iterator[None]:
        """Let `stop_all` stop this run and wait for its end."""
        is_over = threading.Event()
        with self._lock:
            self._running[interruption] = is_over
        try:
            yield
        finally:
            with self._lock:
                del self._running[interruption]
            is_over.set()

    def stop_all(self) -> None:
        """Stop the runs under way, and return when each of them is over."""
        with self._lock:
            running = dict(self._running)
        for interruption in running:
            interruption.stop()
        for is_over in running.values():
            is_over.wait()


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Set the error that a thread raises next; None removes one.

    Source: https://docs.python.org/3/c-api/init.html, PyThreadState_SetAsyncExc.
    """
    exception = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
