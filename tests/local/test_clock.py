"""The clock is the machine's."""

from __future__ import annotations

import time

from cvl_ci.local.clock import SystemClock
from cvl_ci.ports import Clock


def test_it_tells_the_time_and_never_goes_back() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01
    assert abs(clock.now() - time.time()) < 5


def test_a_wait_that_is_already_over_takes_no_time() -> None:
    SystemClock().sleep(-3)
